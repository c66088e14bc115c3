/** Numbers of the vhost-user protocol (docs/interop/vhost-user.rst of QEMU), under their names there. */

/** Front-end message ids (VHOST_USER_*). */
export const REQUEST = {
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
  CREATE_CRYPTO_SESSION: 26,
  CLOSE_CRYPTO_SESSION: 27,
  POSTCOPY_ADVISE: 28,
  POSTCOPY_LISTEN: 29,
  POSTCOPY_END: 30,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  GPU_SET_SOCKET: 33,
  RESET_DEVICE: 34,
  VRING_KICK: 35,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHARED_OBJECT: 41,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
  GET_SHMEM_CONFIG: 44,
} as const;

export type RequestName = keyof typeof REQUEST;

/** Back-end message ids (VHOST_USER_BACKEND_*) that we send. */
export const BACKEND_REQUEST = { VRING_HOST_NOTIFIER_MSG: 3 } as const;

export type BackendRequestName = keyof typeof BACKEND_REQUEST;

/** Header flags. */
export const VERSION_MASK = 0x3;
export const VERSION = 0x1;
export const FLAG_REPLY = 0x4;
export const FLAG_NEED_REPLY = 0x8;
export const FLAGS_KNOWN = VERSION_MASK | FLAG_REPLY | FLAG_NEED_REPLY;

/** Most payload bytes of a message that we accept. */
export const PAYLOAD_MAX = 4096;
/** Most fds of a message (VHOST_MEMORY_BASELINE_NREGIONS). */
export const FDS_MAX = 8;
/** Memory regions that may exist at once; must never shrink, a front-end remembers it across reconnects. */
export const MEM_SLOTS = 509;

/** Bits of the feature mask that are vhost-user's own. */
export const VHOST_F_LOG_ALL = 1n << 26n;
export const VHOST_USER_F_PROTOCOL_FEATURES = 1n << 30n;

/** Payload of SET_VRING_KICK, CALL and ERR, and of VRING_HOST_NOTIFIER_MSG: ring index and "no fd". */
export const VRING_INDEX_MASK = 0xffn;
export const VRING_NOFD = 1n << 8n;
/** Flag of SET_VRING_ADDR: log writes to the used ring (VHOST_VRING_F_LOG is its bit number). */
export const VRING_LOG = 1;

/** Protocol feature bits (VHOST_USER_PROTOCOL_F_*). */
export const PROTOCOL_F = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  MTU: 4,
  BACKEND_REQ: 5,
  CROSS_ENDIAN: 6,
  CRYPTO_SESSION: 7,
  PAGEFAULT: 8,
  CONFIG: 9,
  BACKEND_SEND_FD: 10,
  HOST_NOTIFIER: 11,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  INBAND_NOTIFICATIONS: 14,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  XEN_MMAP: 17,
  SHARED_OBJECT: 18,
  DEVICE_STATE: 19,
  SHMEM: 20,
} as const;

export type ProtocolFeature = keyof typeof PROTOCOL_F;

export const protocolBits = (...names: ProtocolFeature[]): bigint =>
  names.reduce((bits, name) => bits | (1n << BigInt(PROTOCOL_F[name])), 0n);

/** What this back-end implements, whatever the device; the device may carry less. */
export const IMPLEMENTED = protocolBits(
  "MQ",
  "LOG_SHMFD",
  "RARP",
  "REPLY_ACK",
  "MTU",
  "BACKEND_REQ",
  "BACKEND_SEND_FD",
  "HOST_NOTIFIER",
  "RESET_DEVICE",
  "CONFIGURE_MEM_SLOTS",
  "STATUS",
  "DEVICE_STATE",
);

const REQUEST_NAMES = new Map<number, string>(Object.entries(REQUEST).map(([name, id]) => [id, name]));
const BACKEND_NAMES = new Map<number, string>(
  Object.entries(BACKEND_REQUEST).map(([name, id]) => [id, name]),
);
const PROTOCOL_NAMES = new Map<number, string>(Object.entries(PROTOCOL_F).map(([name, bit]) => [bit, name]));

/** `SET_VRING_KICK`, or `request 99` for an id that nobody defined. */
export const requestName = (id: number): string => REQUEST_NAMES.get(id) ?? `request ${id}`;

/** The same for messages of the back channel, which have numbers of their own. */
export const backendRequestName = (id: number): string => BACKEND_NAMES.get(id) ?? `back-end request ${id}`;

/** Names of protocol feature bits; unknown ones are `bit_N`. */
export function protocolFeatureNames(bits: bigint): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if ((bits >> BigInt(bit)) & 1n) names.push(PROTOCOL_NAMES.get(bit) ?? `bit_${bit}`);
  }
  return names;
}
