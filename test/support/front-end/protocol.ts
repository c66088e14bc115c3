/**
 * The vhost-user protocol as a front-end speaks it, written from the specification alone
 * (docs/interop/vhost-user.rst of QEMU) and sharing nothing with the product, so that a misreading on one side shows.
 */

/** Front-end requests ("Front-end message types"). */
export const Request = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  IOTLB_MSG: 22,
  SET_VRING_ENDIAN: 23,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  RESET_DEVICE: 34,
  VRING_KICK: 35,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
} as const;

/** Requests that always have a reply of their own, so that NEED_REPLY adds none. */
export const REPLIED: ReadonlySet<number> = new Set([
  Request.GET_FEATURES,
  Request.SET_LOG_BASE,
  Request.GET_VRING_BASE,
  Request.GET_PROTOCOL_FEATURES,
  Request.GET_QUEUE_NUM,
  Request.GET_CONFIG,
  Request.GET_INFLIGHT_FD,
  Request.GET_MAX_MEM_SLOTS,
  Request.GET_STATUS,
]);

export const VERSION = 0x1;
export const REPLY = 0x4;
export const NEED_REPLY = 0x8;
export const HEADER_SIZE = 12;
/** Bit of SET_VRING_KICK/CALL/ERR: no fd comes with the message. */
export const NO_FD = 0x100n;

const bit = (n: number) => 1n << BigInt(n);

/** Virtio and vhost feature bits. */
export const Feature = {
  MTU: bit(3),
  MAC: bit(5),
  MRG_RXBUF: bit(15),
  STATUS: bit(16),
  CTRL_VQ: bit(17),
  CTRL_RX: bit(18),
  GUEST_ANNOUNCE: bit(21),
  MQ: bit(22),
  LOG_ALL: bit(26),
  ANY_LAYOUT: bit(27),
  INDIRECT_DESC: bit(28),
  EVENT_IDX: bit(29),
  PROTOCOL_FEATURES: bit(30),
  VERSION_1: bit(32),
  ACCESS_PLATFORM: bit(33),
  RING_PACKED: bit(34),
  IN_ORDER: bit(35),
} as const;

/** Protocol feature bits. */
export const Protocol = {
  MQ: bit(0),
  LOG_SHMFD: bit(1),
  RARP: bit(2),
  REPLY_ACK: bit(3),
  MTU: bit(4),
  BACKEND_REQ: bit(5),
  CONFIG: bit(9),
  INFLIGHT_SHMFD: bit(12),
  RESET_DEVICE: bit(13),
  CONFIGURE_MEM_SLOTS: bit(15),
  STATUS: bit(16),
} as const;

/** Virtio device status bits (virtio 1.3 §2.1). */
export const Status = { ACKNOWLEDGE: 1, DRIVER: 2, DRIVER_OK: 4, FEATURES_OK: 8 } as const;

/** Region as a front-end describes it. */
export interface RegionDescription {
  readonly gpa: bigint;
  readonly size: bigint;
  readonly uva: bigint;
  readonly mmapOffset: bigint;
}

export interface VringAddresses {
  readonly flags?: number;
  readonly descUva: bigint;
  readonly usedUva: bigint;
  readonly availUva: bigint;
  readonly logGpa?: bigint;
}

/** Words of 4 (number) or 8 (bigint) bytes in a row, little endian. */
export function words(...values: (number | bigint)[]): Uint8Array {
  const size = values.reduce<number>((sum, value) => sum + (typeof value === "bigint" ? 8 : 4), 0);
  const view = new DataView(new ArrayBuffer(size));
  let at = 0;
  for (const value of values) {
    if (typeof value === "bigint") view.setBigUint64(at, BigInt.asUintN(64, value), true);
    else view.setUint32(at, value >>> 0, true);
    at += typeof value === "bigint" ? 8 : 4;
  }
  return new Uint8Array(view.buffer);
}

/** A whole message; `flags` and `size` may be lies. */
export function message(
  request: number,
  payload: Uint8Array = new Uint8Array(0),
  { flags = VERSION, size = payload.length }: { flags?: number; size?: number } = {},
): Uint8Array {
  return Buffer.concat([words(request, flags, size), payload]);
}

const region = (r: RegionDescription) => [r.gpa, r.size, r.uva, r.mmapOffset];

/** Payload of SET_MEM_TABLE; `count` may be a lie. */
export const memTable = (regions: readonly RegionDescription[], count = regions.length) =>
  words(count, 0, ...regions.flatMap(region));

/** Payload of ADD_MEM_REG and REM_MEM_REG. */
export const memReg = (r: RegionDescription) => words(0n, ...region(r));

/** Payload of SET_VRING_ADDR. */
export const vringAddr = (index: number, a: VringAddresses) =>
  words(index, a.flags ?? 0, a.descUva, a.usedUva, a.availUva, a.logGpa ?? 0n);
