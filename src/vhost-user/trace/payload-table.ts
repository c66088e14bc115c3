import type { BackendRequestName, RequestName } from "../protocol.ts";
import * as form from "./payload-forms.ts";

/** What a message and its reply carry. A message without a reply of its own may be acknowledged. */
export interface MessageForms {
  readonly request: form.PayloadForm;
  readonly reply?: form.PayloadForm;
}

const one = (request: form.PayloadForm, reply?: form.PayloadForm): MessageForms =>
  reply === undefined ? { request } : { request, reply };

/** All messages of front-ends, those that are refused too. */
// biome-ignore format: one message, one row
export const FRONT_END_FORMS: Readonly<Record<RequestName, MessageForms>> = {
  GET_FEATURES:          one(form.NOTHING, form.FEATURES),
  SET_FEATURES:          one(form.FEATURES),
  SET_OWNER:             one(form.NOTHING),
  RESET_OWNER:           one(form.NOTHING),
  SET_MEM_TABLE:         one(form.MEMORY_TABLE),
  SET_LOG_BASE:          one(form.LOG, form.LOG),
  SET_LOG_FD:            one(form.NOTHING),
  SET_VRING_NUM:         one(form.VRING_STATE),
  SET_VRING_ADDR:        one(form.VRING_ADDR),
  SET_VRING_BASE:        one(form.VRING_BASE),
  GET_VRING_BASE:        one(form.VRING_STATE, form.VRING_BASE),
  SET_VRING_KICK:        one(form.VRING_FILE),
  SET_VRING_CALL:        one(form.VRING_FILE),
  SET_VRING_ERR:         one(form.VRING_FILE),
  GET_PROTOCOL_FEATURES: one(form.NOTHING, form.PROTOCOL_FEATURES),
  SET_PROTOCOL_FEATURES: one(form.PROTOCOL_FEATURES),
  GET_QUEUE_NUM:         one(form.NOTHING, form.COUNT),
  SET_VRING_ENABLE:      one(form.VRING_STATE),
  SEND_RARP:             one(form.MAC),
  NET_SET_MTU:           one(form.COUNT),
  SET_BACKEND_REQ_FD:    one(form.NOTHING),
  IOTLB_MSG:             one(form.IOTLB),
  SET_VRING_ENDIAN:      one(form.VRING_STATE),
  GET_CONFIG:            one(form.CONFIG, form.CONFIG),
  SET_CONFIG:            one(form.CONFIG),
  CREATE_CRYPTO_SESSION: one(form.NOTHING),
  CLOSE_CRYPTO_SESSION:  one(form.U64),
  POSTCOPY_ADVISE:       one(form.NOTHING),
  POSTCOPY_LISTEN:       one(form.NOTHING),
  POSTCOPY_END:          one(form.NOTHING),
  GET_INFLIGHT_FD:       one(form.INFLIGHT, form.INFLIGHT),
  SET_INFLIGHT_FD:       one(form.INFLIGHT),
  GPU_SET_SOCKET:        one(form.NOTHING),
  RESET_DEVICE:          one(form.NOTHING),
  VRING_KICK:            one(form.VRING_STATE),
  GET_MAX_MEM_SLOTS:     one(form.NOTHING, form.COUNT),
  ADD_MEM_REG:           one(form.REGION),
  REM_MEM_REG:           one(form.REGION),
  SET_STATUS:            one(form.STATUS),
  GET_STATUS:            one(form.NOTHING, form.STATUS),
  GET_SHARED_OBJECT:     one(form.NOTHING),
  SET_DEVICE_STATE_FD:   one(form.TRANSFER, form.TRANSFER_REPLY),
  CHECK_DEVICE_STATE:    one(form.NOTHING, form.U64),
  GET_SHMEM_CONFIG:      one(form.NOTHING),
};

/** Of the back channel, where the answers are acks. */
export const BACK_END_FORMS: Readonly<Record<BackendRequestName, MessageForms>> = {
  VRING_HOST_NOTIFIER_MSG: one(form.VRING_AREA),
};
