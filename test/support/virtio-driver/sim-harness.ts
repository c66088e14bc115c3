import { DmaBuffer } from "../../../src/hw/dma-buffer.ts";
import type { RegisterWidth } from "../../../src/hw/pci-function.ts";
import { SimDevice } from "../../../src/hw/sim/sim-device.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import { CollectedLog } from "./collected-log.ts";

const BAR = 4;
const NOTIFY = 0x3000;

/** Registers of the common configuration by name: offset and width (virtio 1.3 §4.1.4.3). */
export const R = {
  device_feature_select: [0, 4],
  device_feature: [4, 4],
  driver_feature_select: [8, 4],
  driver_feature: [12, 4],
  config_msix_vector: [16, 2],
  num_queues: [18, 2],
  device_status: [20, 1],
  config_generation: [21, 1],
  queue_select: [22, 2],
  queue_size: [24, 2],
  queue_msix_vector: [26, 2],
  queue_enable: [28, 2],
  queue_notify_off: [30, 2],
  queue_desc: [32, 4],
  queue_driver: [40, 4],
  queue_device: [48, 4],
  queue_reset: [58, 2],
} as const satisfies Record<string, readonly [number, RegisterWidth]>;

/** A simulated device without a thread, with the accesses that tests need. */
export class SimHarness {
  readonly log = new CollectedLog();
  readonly device: SimDevice;
  readonly #buffers: DmaBuffer[] = [];

  constructor(options: SimOptions = {}) {
    this.device = new SimDevice(options, this.log);
    this.device.regWrite(7, 4, 2, 6);
  }

  get(register: keyof typeof R): number {
    const [offset, width] = R[register];
    return this.device.regRead(BAR, offset, width);
  }

  set(register: keyof typeof R, value: number): void {
    const [offset, width] = R[register];
    this.device.regWrite(BAR, offset, width, value);
  }

  set64(register: "queue_desc" | "queue_driver" | "queue_device", value: bigint): void {
    this.device.regWrite(BAR, R[register][0], 4, Number(value & 0xffff_ffffn));
    this.device.regWrite(BAR, R[register][0] + 4, 4, Number(value >> 32n));
  }

  offered(): bigint {
    this.set("device_feature_select", 1);
    const high = this.get("device_feature");
    this.set("device_feature_select", 0);
    return (BigInt(high) << 32n) | BigInt(this.get("device_feature"));
  }

  /** Goes to FEATURES_OK with these features; whether the device agreed. */
  negotiate(features: bigint): boolean {
    this.set("device_status", 0);
    this.set("device_status", 1);
    this.set("device_status", 3);
    this.set("driver_feature_select", 0);
    this.set("driver_feature", Number(features & 0xffff_ffffn));
    this.set("driver_feature_select", 1);
    this.set("driver_feature", Number(features >> 32n));
    this.set("device_status", 11);
    return (this.get("device_status") & 8) !== 0;
  }

  /** Programmes and enables a queue; whether it reads back as enabled. */
  enable(
    index: number,
    ring: { size: number; desc: bigint; driver: bigint; device: bigint },
    vector = 0xffff,
  ): boolean {
    this.set("queue_select", index);
    this.set("queue_size", ring.size);
    this.set64("queue_desc", ring.desc);
    this.set64("queue_driver", ring.driver);
    this.set64("queue_device", ring.device);
    this.set("queue_msix_vector", vector);
    this.set("queue_enable", 1);
    return this.get("queue_enable") === 1;
  }

  driverOk(): void {
    this.set("device_status", 15);
  }

  kick(queue: number): void {
    this.device.regWrite(BAR, NOTIFY + queue * this.device.config.notifyMultiplier, 2, queue);
  }

  /** Polls until the device has nothing more to do. */
  settle(): void {
    while (this.device.poll());
  }

  /** Memory that the device may use, freed by `close`. */
  memory(iova: bigint, size: number, stable = true): DmaBuffer {
    const { iova: map } = this.device;
    const buffer = DmaBuffer.create(
      {
        pageSize: 4096,
        usable: map.usable,
        map: (at, memory) => map.map(at, { ...memory, stable }),
        unmap: (at, length) => map.unmap(at, length),
      },
      iova,
      size,
      "test",
    );
    this.#buffers.push(buffer);
    return buffer;
  }

  close(): void {
    for (const buffer of this.#buffers) buffer.close();
    this.device.close();
  }
}
