import { afterEach, describe, expect, test } from "bun:test";
import { DmaBuffer } from "../../../../src/hw/dma-buffer.ts";
import { ControlQueue } from "../../../../src/hw/virtio/control-queue.ts";
import * as F from "../../../../src/hw/virtio/features.ts";
import { negotiate, setDriverOk } from "../../../../src/hw/virtio/negotiate.ts";
import { openVirtio } from "../../../../src/hw/virtio/open.ts";
import { type Answer, PackedControlDevice, SplitControlDevice } from "./fake-control-device.ts";
import { FakeLegacyDevice } from "./fake-legacy-device.ts";
import { FakeModernDevice } from "./fake-modern-device.ts";

const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);
const NET = bits(
  F.VIRTIO_NET_F_CTRL_VQ,
  F.VIRTIO_NET_F_MQ,
  F.VIRTIO_NET_F_CTRL_RX,
  F.VIRTIO_NET_F_CTRL_MAC_ADDR,
);
const IOVA = 0x7f_0000_0000n;
const INDEX = 2;
const limitMs = 20;

const buffers: DmaBuffer[] = [];
afterEach(() => {
  for (const buffer of buffers.splice(0)) buffer.close();
});

/** Address that a queue was given: 0 descriptors, 1 driver area, 2 device area. */
function address(device: FakeModernDevice, part: 0 | 1 | 2): bigint {
  const { addresses } = device.queues[INDEX]!;
  return BigInt(addresses[2 * part]!) + (BigInt(addresses[2 * part + 1]!) << 32n);
}

/** A fresh device's side on the queue as it is programmed now, run by its doorbell. */
function connect(device: FakeModernDevice, features: bigint, answer: Answer) {
  const { size } = device.queues[INDEX]!;
  const [desc, driver, used] = [address(device, 0), address(device, 1), address(device, 2)];
  const end = F.hasFeature(features, F.VIRTIO_F_RING_PACKED)
    ? new PackedControlDevice(device.dma, size, desc, answer)
    : new SplitControlDevice(device.dma, size, desc, driver, used, answer);
  device.onDoorbell = () => end.run();
  return end;
}

/** A started modern device with a control queue at both ends. */
function start(options: { features?: bigint; maxSize?: number; answer?: Answer } = {}) {
  const device = new FakeModernDevice(3);
  for (const queue of device.queues) {
    queue.maxSize = options.maxSize ?? 64;
    queue.size = queue.maxSize;
  }
  device.offered = NET | bits(F.VIRTIO_F_VERSION_1) | (options.features ?? 0n);
  const transport = openVirtio(device, undefined, { limitMs });
  const features = negotiate(transport, device.offered);
  const size = ControlQueue.memorySize(transport, INDEX, features);
  const memory = DmaBuffer.create(device.dma, IOVA, size, "control");
  buffers.push(memory);
  const create = () => ControlQueue.create(transport, { index: INDEX, features, memory, limitMs });
  const queue = create();
  const end = connect(device, features, options.answer ?? (() => 0));
  setDriverOk(transport);
  return { device, transport, queue, create, end, features };
}

const LAYOUTS: [string, bigint][] = [
  ["split", 0n],
  ["split with event idx", bits(F.VIRTIO_RING_F_EVENT_IDX)],
  ["packed", bits(F.VIRTIO_F_RING_PACKED)],
];

describe.each(LAYOUTS)("control queue, %s", (_, features) => {
  test("sends the commands as the specification numbers them", () => {
    const { queue, end, device } = start({ features });
    queue.setQueuePairs(0x102);
    queue.setMac(Uint8Array.of(2, 0, 0, 0, 0, 9));
    queue.setRxMode({ promisc: true, allmulti: false });
    expect(end.received).toEqual([
      { commandClass: 4, command: 0, data: [2, 1] },
      { commandClass: 1, command: 1, data: [2, 0, 0, 0, 0, 9] },
      { commandClass: 0, command: 0, data: [1] },
      { commandClass: 0, command: 1, data: [0] },
    ]);
    expect(device.rings).toEqual([INDEX, INDEX, INDEX, INDEX]);
  });

  test.each([64, 8, 4, 3, 2])("goes round a ring of at most %p entries many times", (maxSize) => {
    const { queue, end } = start({ features, maxSize });
    for (let pairs = 1; pairs <= 200; pairs++) queue.setQueuePairs(pairs);
    expect(end.received.map(({ data }) => data[0]! + data[1]! * 256)).toEqual(
      Array.from({ length: 200 }, (_, i) => i + 1),
    );
  });

  test("a refused command is named, and the queue goes on", () => {
    const { queue } = start({ features, answer: ({ command }) => (command === 1 ? 1 : 0) });
    expect(() => queue.setMac(new Uint8Array(6))).toThrow("MAC_ADDR_SET failed: the device refuses it");
    queue.setQueuePairs(1);
  });

  test("an ack that no device may give is named", () => {
    const { queue } = start({ features, answer: () => 7 });
    expect(() => queue.setQueuePairs(1)).toThrow("its answer is 7");
  });

  test("a command that never completes breaks the queue until the device is reset", () => {
    const stuck = start({ features, answer: () => "never" });
    expect(() => stuck.queue.setQueuePairs(2)).toThrow("VQ_PAIRS_SET 2 did not complete within 0.02 s");
    expect(() => stuck.queue.setQueuePairs(1)).toThrow("VQ_PAIRS_SET 2 did not complete");
    expect(stuck.end.received.length).toBe(1);
    // A reset, then a new queue in the same memory.
    negotiate(stuck.transport, stuck.features);
    const queue = stuck.create();
    const end = connect(stuck.device, stuck.features, () => 0);
    queue.setQueuePairs(3);
    expect(end.received).toEqual([{ commandClass: 4, command: 0, data: [3, 0] }]);
  });
});

describe("control queue rules", () => {
  test("a command needs its feature", () => {
    const { queue } = start();
    expect(() => queue.setRxMode({ nobcast: true })).toThrow("CTRL_RX_EXTRA was not negotiated");
    expect(() => queue.setMac(new Uint8Array(5))).toThrow(RangeError);
  });

  test("asks for no interrupts", () => {
    const split = start();
    expect((split.end as SplitControlDevice).field(address(split.device, 1))).toBe(1);
    const packed = start({ features: bits(F.VIRTIO_F_RING_PACKED) });
    expect(packed.device.dma.view(address(packed.device, 1), 4).getUint16(2, true)).toBe(1);
    expect(split.device.queues[INDEX]!.vector).toBe(0xffff);
  });

  test("with event idx the event asked for has passed", () => {
    const { queue, device } = start({ features: bits(F.VIRTIO_RING_F_EVENT_IDX) });
    for (let i = 0; i < 3; i++) queue.setQueuePairs(1);
    const { size } = device.queues[INDEX]!;
    expect(device.dma.view(address(device, 1), 2).getUint16(0, true)).toBe(0);
    // Two were used when the third was made available: an interrupt would need event index 2.
    expect(device.dma.view(address(device, 1) + BigInt(4 + 2 * size), 2).getUint16(0, true)).toBe(1);
  });

  test("a used descriptor that was never given breaks the queue", () => {
    const { queue, device } = start();
    device.onDoorbell = () => {
      device.dma.view(address(device, 2) + 4n, 4).setUint32(0, 5, true);
      device.dma.view(address(device, 2) + 2n, 2).setUint16(0, 1, true);
    };
    expect(() => queue.setQueuePairs(1)).toThrow("used descriptor 5");
    expect(() => queue.setQueuePairs(1)).toThrow("broke the ring's rules");
  });

  test("a used index that jumps breaks the queue", () => {
    const { queue, device } = start();
    device.onDoorbell = () => device.dma.view(address(device, 2) + 2n, 2).setUint16(0, 9, true);
    expect(() => queue.setQueuePairs(1)).toThrow("used index went from 0 to 9");
  });

  test("a device without the queue is refused", () => {
    const device = new FakeModernDevice(2);
    const transport = openVirtio(device);
    expect(() => ControlQueue.memorySize(transport, 2, NET)).toThrow("the device has no queue 2");
  });

  test("a legacy device gets the ring it dictates", () => {
    const device = new FakeLegacyDevice();
    device.offered = NET;
    const transport = openVirtio(device);
    const features = negotiate(transport, NET);
    const size = ControlQueue.memorySize(transport, INDEX, features);
    const memory = DmaBuffer.create(device.dma, 0x10_0000n, size, "control");
    buffers.push(memory);
    const queue = ControlQueue.create(transport, { index: INDEX, features, memory, limitMs });
    expect(device.pfns[INDEX]).toBe(0x100);
    // 64 entries: the table is 1 KiB, the used ring begins with the next page.
    const end = new SplitControlDevice(device.dma, 64, 0x10_0000n, 0x10_0400n, 0x10_1000n, () => 0);
    device.onDoorbell = () => end.run();
    queue.setQueuePairs(1);
    expect(end.received.length).toBe(1);
    expect(device.rings).toEqual([INDEX]);
  });
});
