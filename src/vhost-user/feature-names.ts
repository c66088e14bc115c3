import { featureNames } from "../hw/virtio/feature-names.ts";
import { VHOST_F_LOG_ALL, VHOST_USER_F_PROTOCOL_FEATURES } from "./protocol.ts";

/**
 * Names of the bits of GET_FEATURES and SET_FEATURES. Two of them have a meaning of their own here, which no virtio
 * table has.
 * @param type virtio device type
 */
export const vhostFeatureNames = (type: number, bits: bigint): string[] => [
  ...((bits & VHOST_F_LOG_ALL) !== 0n ? ["LOG_ALL"] : []),
  ...((bits & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n ? ["PROTOCOL_FEATURES"] : []),
  ...featureNames(type, bits & ~(VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES)),
];
