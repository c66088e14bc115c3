import { OperatorError } from "../../hw/operator-error.ts";
import {
  statusNames,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FAILED,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
} from "../../hw/virtio/status.ts";
import type { Session } from "../session.ts";

/** 0 resets the device; DRIVER_OK says that everything is set up. Bits are only ever added (virtio 1.3 §2.1.1). */
export function setStatus(session: Session, { u64 }: { u64: bigint }): void {
  const refuse = (why: string) => {
    throw new OperatorError(`status 0x${u64.toString(16)}`, { why, kind: "protocol" });
  };
  if (u64 > 0xffn) refuse("a device status has 8 bits");
  const status = Number(u64);
  if (status === 0) {
    session.stopDevice();
    session.status = 0;
    session.featuresRefused = false;
    return;
  }
  // NEEDS_RESET is the device's own bit.
  const removed = session.status & ~status & ~VIRTIO_CONFIG_S_NEEDS_RESET;
  if (removed !== 0) refuse(`it takes back ${statusNames(removed).join(", ")}; only a reset (0) may`);
  const added = status & ~session.status;
  if (added & VIRTIO_CONFIG_S_FEATURES_OK && (session.features === undefined || session.featuresRefused)) {
    refuse(
      session.featuresRefused ? "FEATURES_OK after refused features" : "FEATURES_OK without any SET_FEATURES",
    );
  }
  if (added & VIRTIO_CONFIG_S_DRIVER_OK && status & VIRTIO_CONFIG_S_FAILED)
    refuse("DRIVER_OK after FAILED; only a reset (0) ends that");
  session.status = status;
  session.update();
}

export function getStatus({ status, device }: Session): bigint {
  return BigInt(device.needsReset ? status | VIRTIO_CONFIG_S_NEEDS_RESET : status);
}
