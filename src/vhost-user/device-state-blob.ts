import { array, struct, u32, u64 } from "../hw/ffi/struct.ts";
import { hex } from "../memory/region.ts";
import type { Session } from "./session.ts";

/** "VDPACTL1" as bytes. */
const MAGIC = 0x314c544341504456n;
const VERSION = 1;
/** Most rings of a state, by the one-byte ring index of SET_VRING_KICK. */
const RINGS_MAX = 256;

const head = struct("vdpactl_device_state", {
  magic: u64,
  version: u32,
  /** Virtio device type: 1 network, 2 block. */
  device_type: u32,
  features: u64,
  /** Bytes, 0 when none was set. */
  mtu: u32,
  rings: u32,
});
const ringState = struct("vdpactl_ring_state", { num: u32, base: u32, enabled: u32, reserved: u32 });

const typeNumber = (type: "net" | "blk") => (type === "net" ? 1 : 2);

/** What the device was set to, for the back-end at the migration's destination. */
export function saveState(session: Session): Uint8Array {
  const rings = session.rings.map((ring) => ({
    num: ring.num,
    base: ring.base ?? 0,
    enabled: ring.enabled ? 1 : 0,
    reserved: 0,
  }));
  const first = head.alloc({
    magic: MAGIC,
    version: VERSION,
    device_type: typeNumber(session.device.type),
    features: session.features ?? 0n,
    mtu: session.mtu ?? 0,
    rings: rings.length,
  });
  const rest = new Uint8Array(new ArrayBuffer(ringState.size * rings.length));
  array(ringState, rings.length).set(new DataView(rest.buffer), 0, rings);
  return Buffer.concat([first, rest]);
}

/** Why a device state can not be taken over by this device; undefined when it can. */
export function stateProblem(bytes: Uint8Array, session: Session): string | undefined {
  if (bytes.byteLength < head.size)
    return `it has ${bytes.byteLength} bytes; its head alone has ${head.size}`;
  const state = head.read(bytes);
  if (state.magic !== MAGIC) return "it was not written by vdpactl";
  if (state.version !== VERSION) return `it has version ${state.version}; this vdpactl knows ${VERSION}`;
  if (state.device_type !== typeNumber(session.device.type)) {
    return `it is of virtio device type ${state.device_type}, this device is ${session.device.type}`;
  }
  if (state.rings > RINGS_MAX || bytes.byteLength !== head.size + state.rings * ringState.size) {
    return `${bytes.byteLength} bytes do not fit its ${state.rings} rings`;
  }
  const missing = state.features & ~session.offeredFeatures;
  if (missing !== 0n) return `it uses features ${hex(missing)}, which this device does not offer`;
  if (state.mtu > session.device.maxMtu) return `its MTU ${state.mtu} is above ${session.device.maxMtu}`;
  for (let index = 0; index < state.rings; index++) {
    const { num } = ringState.read(bytes, head.size + index * ringState.size);
    const max = index < session.rings.length ? session.device.maxQueueSize(index) : 0;
    if (num > max) return `its ring ${index} has ${num} entries, here at most ${max}`;
  }
  return undefined;
}
