import { expect, test } from "bun:test";
import { readRegisters } from "../../../../src/commands/probe/registers.ts";
import type { VirtioTransport } from "../../../../src/hw/virtio/transport.ts";

const fake = (deviceType: number, features: bigint, config: number[], sizes: readonly number[]) =>
  ({
    deviceType,
    numQueues: sizes.length,
    configSize: config.length,
    deviceFeatures: () => features,
    maxQueueSize: (index: number) => sizes[index] ?? 0,
    readConfig: (offset: number, length: number) => Uint8Array.from(config.slice(offset, offset + length)),
  }) as unknown as VirtioTransport;

test("a network device", () => {
  const config = [2, 0, 0, 0, 0, 0xff, 1, 0, 4, 0, 0x28, 0x23, 0x10, 0x27, 0, 0, 1];
  const features = (1n << 3n) | (1n << 5n) | (1n << 16n) | (1n << 17n) | (1n << 22n) | (1n << 63n);
  expect(readRegisters(fake(1, features, config, [256, 256, 64]))).toEqual({
    features,
    // QEMU shows three queues until MQ is accepted.
    queues: 9,
    queueSize: 256,
    config: {
      mac: "02:00:00:00:00:ff",
      mtu: 9000,
      max_virtqueue_pairs: 4,
      link: "up",
      speed_mbps: 10000,
      duplex: "full",
    },
  });
});

test("a disk", () => {
  const { config } = readRegisters(fake(2, 1n << 32n, [0, 8, ...new Array<number>(54).fill(0)], [128]));
  expect(config).toEqual({ capacity_bytes: 2048 * 512, block_size: null, num_queues: 1 });
});

test("a device of another type has no configuration that we decode", () => {
  expect(readRegisters(fake(4, 0n, [], [8]))).toEqual({
    features: 0n,
    queues: 1,
    queueSize: 8,
    config: null,
  });
});
