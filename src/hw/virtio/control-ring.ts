import { deviceError } from "./device-error.ts";
import { hasFeature, VIRTIO_F_RING_PACKED } from "./features.ts";
import { VIRTIO_PCI_VRING_ALIGN } from "./registers.ts";
import { packedRingLayout, type RingLayout, splitRingLayout } from "./ring-layout.ts";
import type { VirtioTransport } from "./transport.ts";

/** One command is under way at a time, so a short ring does. */
const MOST_ENTRIES = 64;

/** The ring that a device's control queue gets. */
export function controlRing(
  transport: VirtioTransport,
  index: number,
  features: bigint,
): { entries: number; layout: RingLayout } {
  const most = transport.maxQueueSize(index);
  if (most < 2) {
    const why = most === 0 ? `the device has no queue ${index}` : `queue ${index} has ${most} entry`;
    throw deviceError(transport.fn, "no control queue", why, "serve one queue pair: --queues 1");
  }
  if (transport.layout === "legacy") {
    return { entries: most, layout: splitRingLayout(most, VIRTIO_PCI_VRING_ALIGN) };
  }
  if (hasFeature(features, VIRTIO_F_RING_PACKED)) {
    const entries = Math.min(most, MOST_ENTRIES);
    return { entries, layout: packedRingLayout(entries) };
  }
  const entries = Math.min(2 ** Math.floor(Math.log2(most)), MOST_ENTRIES);
  return { entries, layout: splitRingLayout(entries) };
}
