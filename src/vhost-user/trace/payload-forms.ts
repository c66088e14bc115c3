import type { Struct } from "../../hw/ffi/struct.ts";
import { hex, type TraceFields, type TraceValue } from "../../hw/trace.ts";
import { statusNames } from "../../hw/virtio/status.ts";
import { vhostFeatureNames } from "../feature-names.ts";
import * as messages from "../messages.ts";
import { FDS_MAX, protocolFeatureNames, VRING_INDEX_MASK, VRING_LOG, VRING_NOFD } from "../protocol.ts";

/** How a payload is shown. It checks nothing: what is against the rules is what somebody looks for. */
export interface PayloadForm {
  /** Shorter payloads are shown as bytes. */
  readonly least: number;
  /** Bytes beyond these are counted; undefined where the payload itself says how long it is. */
  readonly most?: number | undefined;
  readonly fields: (payload: Uint8Array, deviceType: number) => TraceFields;
}

/** Numbers as they are, 64-bit ones as hexadecimal text. */
function plain(value: unknown): TraceValue {
  if (typeof value === "bigint") return hex(value);
  if (typeof value === "number") return value;
  return Object.fromEntries(Object.entries(value as object).map(([key, inner]) => [key, plain(inner)]));
}

// biome-ignore lint/suspicious/noExplicitAny: only the struct's names are used
type AnyStruct = Struct<any>;

/** A struct under its own field names, without padding. */
const struct = (of: AnyStruct): PayloadForm => ({
  least: of.size,
  most: of.size,
  fields: (payload) => {
    const { padding: _padding, ...fields } = of.read(payload);
    return plain(fields) as TraceFields;
  },
});

const u64 = (fields: (value: bigint, deviceType: number) => TraceFields): PayloadForm => ({
  least: messages.vhost_user_u64.size,
  most: messages.vhost_user_u64.size,
  fields: (payload, type) => fields(messages.vhost_user_u64.read(payload).u64, type),
});

export const NOTHING: PayloadForm = { least: 0, most: 0, fields: () => ({}) };
export const U64 = u64((value) => ({ u64: hex(value) }));
export const COUNT = u64((value) => ({ u64: `${value}` }));
export const FEATURES = u64((value, type) => ({ u64: hex(value), features: vhostFeatureNames(type, value) }));
export const PROTOCOL_FEATURES = u64((value) => ({ u64: hex(value), features: protocolFeatureNames(value) }));
export const STATUS = u64((value) => ({ u64: hex(value), status: statusNames(Number(value & 0xffn)) }));
/** 0 when the message was carried out. */
export const ACK = u64((value) => ({ ack: value === 0n ? "ok" : `refused (${value})` }));
/** An error in the low byte, and whether an fd comes back. */
export const TRANSFER_REPLY = u64((value) => ({ error: `${value & 0xffn}`, nofd: flagged(value) }));
export const VRING_FILE = u64((value) => ({ index: Number(value & VRING_INDEX_MASK), nofd: flagged(value) }));
const flagged = (value: bigint) => (value & VRING_NOFD) !== 0n;

export const VRING_STATE = struct(messages.vhost_vring_state);
export const LOG = struct(messages.vhost_user_log);
export const REGION = struct(messages.vhost_user_mem_reg_msg);
export const IOTLB = struct(messages.vhost_iotlb_msg);
export const INFLIGHT = struct(messages.vhost_user_inflight);
/** The device's configuration follows. */
export const CONFIG: PayloadForm = { ...struct(messages.vhost_user_config), most: undefined };

export const VRING_ADDR: PayloadForm = {
  ...struct(messages.vhost_vring_addr),
  fields: (payload) => {
    const { flags, ...fields } = plain(messages.vhost_vring_addr.read(payload)) as { flags: number };
    return { ...fields, flags: (flags & VRING_LOG) === flags ? (flags ? ["LOG"] : []) : hex(flags) };
  },
};

/** A packed ring's base has both positions, each with its wrap counter in bit 15; a split ring's has 16 bits. */
export const VRING_BASE: PayloadForm = {
  ...VRING_STATE,
  fields: (payload) => {
    const { index, num } = messages.vhost_vring_state.read(payload);
    if (num <= 0xffff) return { index, num };
    const half = (bits: number) => ({ at: bits & 0x7fff, wrap: bits >>> 15 });
    return { index, num: hex(num), avail: half(num & 0xffff), used: half(num >>> 16) };
  },
};

export const VRING_AREA: PayloadForm = {
  ...struct(messages.vhost_user_vring_area),
  fields: (payload) => {
    const { u64: value, size, offset } = messages.vhost_user_vring_area.read(payload);
    return {
      index: Number(value & VRING_INDEX_MASK),
      nofd: flagged(value),
      size: hex(size),
      offset: hex(offset),
    };
  },
};

export const TRANSFER: PayloadForm = {
  ...struct(messages.vhost_user_transfer_device_state),
  fields: (payload) => {
    const { direction, phase } = messages.vhost_user_transfer_device_state.read(payload);
    return {
      direction: ["save", "load"][direction] ?? direction,
      phase: phase === 0 ? "stopped" : phase,
    };
  },
};

export const MAC: PayloadForm = {
  least: messages.vhost_user_u64.size,
  most: messages.vhost_user_u64.size,
  fields: (payload) => ({
    mac: [...payload.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
  }),
};

/** As many regions as are there, and no more than may be. */
export const MEMORY_TABLE: PayloadForm = {
  least: messages.vhost_user_memory.size,
  fields: (payload) => {
    const { size } = messages.vhost_user_memory_region;
    const { nregions } = messages.vhost_user_memory.read(payload);
    const there = Math.floor((payload.byteLength - messages.vhost_user_memory.size) / size);
    const regions = Array.from({ length: Math.min(nregions, there, FDS_MAX) }, (_, i) =>
      plain(messages.vhost_user_memory_region.read(payload, messages.vhost_user_memory.size + i * size)),
    );
    return { nregions, regions };
  },
};
