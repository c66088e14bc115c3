import type { DeviceRing } from "./device-ring.ts";
import type { DmaPort } from "./dma-port.ts";
import { InFlight } from "./in-flight.ts";
import { PackedRing } from "./packed-ring.ts";
import type { Random } from "./random.ts";
import type { SimFaults } from "./sim-options.ts";
import { SplitRing } from "./split-ring.ts";
import { F, NO_VECTOR } from "./virtio.ts";

/** The registers of one virtqueue and, while it is enabled, its ring. */
export class Virtqueue {
  size: number;
  vector = NO_VECTOR;
  /** queue_desc, queue_driver and queue_device as their low and high halves. */
  readonly addresses = new Uint32Array(6);
  /** The driver has notified, or something else made a look at the ring worthwhile. */
  kicked = false;
  /** What queue_reset reads: a reset was asked for and is not finished. */
  resetting = false;
  ring: DeviceRing | undefined;
  inFlight: InFlight | undefined;

  constructor(
    readonly index: number,
    readonly maxSize: number,
  ) {
    this.size = maxSize;
  }

  get enabled(): boolean {
    return this.ring !== undefined;
  }

  /** Starts the ring; returns why it can not be. */
  enable(features: bigint, dma: DmaPort, random: Random | undefined, faults: SimFaults): string | undefined {
    const packed = (features & F.RING_PACKED) !== 0n;
    const [desc, driver, device] = [0, 2, 4].map(
      (i) => this.addresses[i + 1]! * 2 ** 32 + this.addresses[i]!,
    );
    // §2.7 and §2.8.10.1: alignment of the three parts.
    for (const [name, iova, align] of [
      ["queue_desc", desc!, 16],
      ["queue_driver", driver!, packed ? 4 : 2],
      ["queue_device", device!, 4],
    ] as const) {
      if (iova % align) return `${name} 0x${iova.toString(16)} is not a multiple of ${align}`;
      if (iova >= 2 ** 52) return `${name} 0x${iova.toString(16)} is beyond 52 bits`;
    }
    if (!packed && (this.size & (this.size - 1)) !== 0)
      return `size ${this.size} of a split ring is no power of two`;
    const setup = {
      size: this.size,
      desc: desc!,
      driver: driver!,
      device: device!,
      eventIdx: (features & F.EVENT_IDX) !== 0n,
      indirect: (features & F.INDIRECT_DESC) !== 0n,
    };
    this.ring = packed ? new PackedRing(dma, setup) : new SplitRing(dma, setup);
    this.inFlight = new InFlight(this.ring, random, faults);
    return undefined;
  }

  /** Back to the state after a device reset (§2.6.1). */
  reset(): void {
    this.size = this.maxSize;
    this.vector = NO_VECTOR;
    this.addresses.fill(0);
    this.kicked = false;
    this.resetting = false;
    this.ring = undefined;
    this.inFlight = undefined;
  }
}
