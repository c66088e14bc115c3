import * as F from "../hw/virtio/features.ts";

const bits = (...numbers: number[]): bigint => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);

/** What we negotiate with the device ourselves, whatever the guest chooses. */
const ALWAYS = bits(
  F.VIRTIO_F_VERSION_1,
  F.VIRTIO_F_ACCESS_PLATFORM,
  F.VIRTIO_F_ORDER_PLATFORM,
  F.VIRTIO_F_RING_RESET,
);

/** The device's control queue and what is steered through it: ours, as the guest's ends in the front-end. */
const NET_CONTROL = bits(
  F.VIRTIO_NET_F_STATUS,
  F.VIRTIO_NET_F_CTRL_VQ,
  F.VIRTIO_NET_F_CTRL_RX,
  F.VIRTIO_NET_F_CTRL_MAC_ADDR,
);

/** LOG_ALL and PROTOCOL_FEATURES: a device that offers these bits means something else by them. */
const OF_VHOST_USER = [26, F.VIRTIO_F_UNUSED];

/**
 * Never passed on to the guest: what a guest behind us can not use. Its doorbell value must be constant
 * (NOTIFICATION_DATA, NOTIF_CONFIG_DATA), its addresses are ours to translate (ACCESS_PLATFORM), and commands of its
 * control queue do not reach the device.
 */
const WITHHELD = bits(
  F.VIRTIO_F_ACCESS_PLATFORM,
  F.VIRTIO_F_ORDER_PLATFORM,
  F.VIRTIO_F_SR_IOV,
  F.VIRTIO_F_NOTIFICATION_DATA,
  F.VIRTIO_F_NOTIF_CONFIG_DATA,
  F.VIRTIO_F_ADMIN_VQ,
  ...OF_VHOST_USER,
);
const WITHHELD_NET = bits(
  F.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  F.VIRTIO_NET_F_MAC,
  F.VIRTIO_NET_F_STATUS,
  F.VIRTIO_NET_F_CTRL_VQ,
  F.VIRTIO_NET_F_CTRL_RX,
  F.VIRTIO_NET_F_CTRL_VLAN,
  F.VIRTIO_NET_F_CTRL_RX_EXTRA,
  F.VIRTIO_NET_F_CTRL_MAC_ADDR,
  F.VIRTIO_NET_F_VQ_NOTF_COAL,
  F.VIRTIO_NET_F_NOTF_COAL,
  F.VIRTIO_NET_F_HASH_REPORT,
  F.VIRTIO_NET_F_RSS,
  F.VIRTIO_NET_F_STANDBY,
);
/** Offered even where the device lacks it: it is the front-end's and the guest's affair. */
const ADDED_NET = bits(F.VIRTIO_NET_F_GUEST_ANNOUNCE);

/** Feature bits that a front-end may choose from, given what the device offers and the operator allows. */
export function offeredToFrontEnd(deviceFeatures: bigint, mask: bigint): bigint {
  let offered = (deviceFeatures & ~(WITHHELD | WITHHELD_NET)) | ADDED_NET;
  // More than one pair needs the device's control queue to switch them on.
  if (!F.hasFeature(deviceFeatures, F.VIRTIO_NET_F_CTRL_VQ)) offered &= ~bits(F.VIRTIO_NET_F_MQ);
  return offered & mask;
}

/** What to negotiate with the device when the front-end chose `chosen`. */
export function wantedFromDevice(chosen: bigint, deviceFeatures: bigint): bigint {
  const passed = chosen & ~(WITHHELD | WITHHELD_NET | ADDED_NET);
  return (passed | ALWAYS | NET_CONTROL) & deviceFeatures;
}
