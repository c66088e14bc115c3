import { deviceError, deviceGone } from "./device-error.ts";
import { featureNames } from "./feature-names.ts";
import {
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_NOTIF_CONFIG_DATA,
  VIRTIO_F_NOTIFICATION_DATA,
  VIRTIO_F_UNUSED,
  VIRTIO_F_VERSION_1,
} from "./features.ts";
import {
  statusNames,
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
} from "./status.ts";
import type { VirtioTransport } from "./transport.ts";

const bit = (number: number) => 1n << BigInt(number);
/** The device behind our IOMMU must use it, whatever the guest has negotiated. */
const ALWAYS = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_ACCESS_PLATFORM);
/** With the first two the doorbell's value varies, so that the kernel can not write it for us. */
const NEVER = bit(VIRTIO_F_NOTIFICATION_DATA) | bit(VIRTIO_F_NOTIF_CONFIG_DATA) | bit(VIRTIO_F_UNUSED);
const LEGACY_BITS = 0xffffffffn;

/**
 * Resets the device and brings it to FEATURES_OK (virtio 1.3 §3.1.1 steps 1–6; the legacy layout has no such step).
 * @param wanted feature bits; those that the device does not offer are left out, VERSION_1 and ACCESS_PLATFORM are
 *   added where it offers them, NOTIFICATION_DATA, NOTIF_CONFIG_DATA and UNUSED never
 * @returns the features accepted
 * @throws OperatorError that names what the device refused; the device is then marked FAILED
 */
export function negotiate(transport: VirtioTransport, wanted: bigint): bigint {
  const { fn } = transport;
  transport.reset();
  addStatus(transport, VIRTIO_CONFIG_S_ACKNOWLEDGE);
  addStatus(transport, VIRTIO_CONFIG_S_DRIVER);
  const offered = transport.deviceFeatures();
  if (transport.layout === "legacy") {
    const features = wanted & offered & LEGACY_BITS & ~NEVER;
    transport.setDriverFeatures(features);
    return features;
  }
  if (!(offered & bit(VIRTIO_F_VERSION_1))) {
    transport.setStatus(transport.status() | VIRTIO_CONFIG_S_FAILED);
    throw deviceError(fn, "no features can be negotiated", "its modern registers do not offer VERSION_1");
  }
  const features = (wanted | ALWAYS) & offered & ~NEVER;
  transport.setDriverFeatures(features);
  addStatus(transport, VIRTIO_CONFIG_S_FEATURES_OK);
  // The device clears the bit when it does not take this set of features.
  if (transport.status() & VIRTIO_CONFIG_S_FEATURES_OK) return features;
  transport.setStatus(transport.status() | VIRTIO_CONFIG_S_FAILED);
  throw deviceError(
    fn,
    "the device refuses the features",
    `it does not work with exactly ${featureNames(transport.deviceType, features).join(", ")}`,
    "mask one of them: --features-mask",
  );
}

/** Sets the device going (virtio 1.3 §3.1.1 step 8). */
export function setDriverOk(transport: VirtioTransport): void {
  addStatus(transport, VIRTIO_CONFIG_S_DRIVER_OK);
  const status = transport.status();
  if (status === 0xff) throw deviceGone(transport.fn);
  if (status & VIRTIO_CONFIG_S_NEEDS_RESET || !(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
    throw deviceError(
      transport.fn,
      "the device does not start",
      `its status is ${statusNames(status).join(", ")}`,
    );
  }
}

/** Bits are only ever added; a reset alone removes them (virtio 1.3 §2.1.1). */
function addStatus(transport: VirtioTransport, added: number): void {
  const status = transport.status();
  if (status === 0xff) throw deviceGone(transport.fn);
  transport.setStatus(status | added);
}
