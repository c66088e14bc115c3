import { type AnyRow, NOTHING, one, refused, row } from "./handler-row.ts";
import { setBackendReqFd } from "./handlers/back-channel.ts";
import { checkDeviceState, deviceStateError, setDeviceStateFd } from "./handlers/device-state.ts";
import * as features from "./handlers/features.ts";
import { resetDevice, resetOwner, setOwner } from "./handlers/lifecycle.ts";
import { setLogBase, setLogFd } from "./handlers/log.ts";
import * as memory from "./handlers/memory.ts";
import { netSetMtu, readMac, sendRarp } from "./handlers/net.ts";
import { getStatus, setStatus } from "./handlers/status.ts";
import { carriesFd, setVringCall, setVringErr, setVringKick } from "./handlers/vring-fds.ts";
import * as vrings from "./handlers/vrings.ts";
import * as messages from "./messages.ts";
import type { RequestName } from "./protocol.ts";

const U64 = one(messages.vhost_user_u64);
const VRING_STATE = one(messages.vhost_vring_state);
const VRING_ADDR = one(messages.vhost_vring_addr);
const REGION = one(messages.vhost_user_mem_reg_msg);
const LOG = one(messages.vhost_user_log);
const TRANSFER = one(messages.vhost_user_transfer_device_state);
const MAC = { least: messages.vhost_user_u64.size, decode: readMac };
const TABLE = { least: messages.vhost_user_memory.size, decode: memory.readTable };

const u64 = (value: bigint) => messages.vhost_user_u64.alloc({ u64: value });
/** GET_CONFIG tells an error by zero length. */
const EMPTY = new Uint8Array(0);
const fdUnlessFlagged = (file: { u64: bigint }) => (carriesFd(file) ? 1 : 0);

/**
 * Every message of the protocol, in the order of its ids. A row says what the message carries, with which protocol
 * feature it is legal, how it is answered, and what it does.
 */
// biome-ignore format: one message, one row
export const HANDLERS: Readonly<Record<RequestName, AnyRow>> = {
  GET_FEATURES:          row({ takes: NOTHING, fds: 0, reply: "u64", run: features.getFeatures }),
  SET_FEATURES:          row({ takes: U64, fds: 0, run: features.setFeatures }),
  SET_OWNER:             row({ takes: NOTHING, fds: 0, run: setOwner }),
  RESET_OWNER:           row({ takes: NOTHING, fds: 0, run: resetOwner }),
  SET_MEM_TABLE:         row({ takes: TABLE, fds: (table) => table.length, run: memory.setMemTable }),
  SET_LOG_BASE:          row({ takes: LOG, fds: 1, needs: "LOG_SHMFD", reply: "payload", run: setLogBase }),
  SET_LOG_FD:            row({ takes: NOTHING, fds: 1, run: setLogFd }),
  SET_VRING_NUM:         row({ takes: VRING_STATE, fds: 0, run: vrings.setVringNum }),
  SET_VRING_ADDR:        row({ takes: VRING_ADDR, fds: 0, run: vrings.setVringAddr }),
  SET_VRING_BASE:        row({ takes: VRING_STATE, fds: 0, run: vrings.setVringBase }),
  GET_VRING_BASE:        row({ takes: VRING_STATE, fds: 0, reply: "payload", run: vrings.getVringBase }),
  SET_VRING_KICK:        row({ takes: U64, fds: fdUnlessFlagged, run: setVringKick }),
  SET_VRING_CALL:        row({ takes: U64, fds: fdUnlessFlagged, run: setVringCall }),
  SET_VRING_ERR:         row({ takes: U64, fds: fdUnlessFlagged, run: setVringErr }),
  GET_PROTOCOL_FEATURES: row({ takes: NOTHING, fds: 0, reply: "u64", run: features.getProtocolFeatures }),
  SET_PROTOCOL_FEATURES: row({ takes: U64, fds: 0, run: features.setProtocolFeatures }),
  GET_QUEUE_NUM:         row({ takes: NOTHING, fds: 0, offered: "MQ", reply: "u64", run: features.getQueueNum }),
  SET_VRING_ENABLE:      row({ takes: VRING_STATE, fds: 0, run: vrings.setVringEnable }),
  SEND_RARP:             row({ takes: MAC, fds: 0, needs: "RARP", run: sendRarp }),
  NET_SET_MTU:           row({ takes: U64, fds: 0, needs: "MTU", run: netSetMtu }),
  SET_BACKEND_REQ_FD:    row({ takes: NOTHING, fds: 1, offered: "BACKEND_REQ", run: setBackendReqFd }),
  IOTLB_MSG:             refused("ACCESS_PLATFORM is not offered: device DMA can not take misses"),
  SET_VRING_ENDIAN:      refused("CROSS_ENDIAN is not offered"),
  GET_CONFIG:            refused("CONFIG is not offered", EMPTY),
  SET_CONFIG:            refused("CONFIG is not offered"),
  CREATE_CRYPTO_SESSION: refused("this is no crypto device"),
  CLOSE_CRYPTO_SESSION:  refused("this is no crypto device"),
  POSTCOPY_ADVISE:       refused("PAGEFAULT is not offered: pages that a device uses are pinned"),
  POSTCOPY_LISTEN:       refused("PAGEFAULT is not offered: pages that a device uses are pinned"),
  POSTCOPY_END:          refused("PAGEFAULT is not offered: pages that a device uses are pinned"),
  GET_INFLIGHT_FD:       refused("INFLIGHT_SHMFD is not offered"),
  SET_INFLIGHT_FD:       refused("INFLIGHT_SHMFD is not offered"),
  GPU_SET_SOCKET:        refused("this is no GPU device"),
  RESET_DEVICE:          row({ takes: NOTHING, fds: 0, needs: "RESET_DEVICE", run: resetDevice }),
  VRING_KICK:            refused("INBAND_NOTIFICATIONS is not offered"),
  GET_MAX_MEM_SLOTS:     row({ takes: NOTHING, fds: 0, offered: "CONFIGURE_MEM_SLOTS", reply: "u64", run: memory.getMaxMemSlots }),
  ADD_MEM_REG:           row({ takes: REGION, fds: 1, needs: "CONFIGURE_MEM_SLOTS", run: memory.addMemReg }),
  REM_MEM_REG:           row({ takes: REGION, fds: [0, 1], needs: "CONFIGURE_MEM_SLOTS", run: memory.remMemReg }),
  SET_STATUS:            row({ takes: U64, fds: 0, needs: "STATUS", run: setStatus }),
  GET_STATUS:            row({ takes: NOTHING, fds: 0, needs: "STATUS", reply: "u64", run: getStatus }),
  GET_SHARED_OBJECT:     refused("SHARED_OBJECT is not offered"),
  SET_DEVICE_STATE_FD:   row({ takes: TRANSFER, fds: 1, needs: "DEVICE_STATE", reply: "u64", errorReply: u64(deviceStateError), run: setDeviceStateFd }),
  CHECK_DEVICE_STATE:    row({ takes: NOTHING, fds: 0, needs: "DEVICE_STATE", reply: "u64", errorReply: u64(1n), run: checkDeviceState }),
  GET_SHMEM_CONFIG:      refused("SHMEM is not offered"),
};
