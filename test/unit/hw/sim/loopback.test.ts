import { expect, test } from "bun:test";
import fc from "fast-check";
import { F } from "../../../../src/hw/sim/virtio.ts";
import { RingMemory } from "../../../support/virtio-driver/driver-ring.ts";
import { NetPair, type PairOptions, testFrame } from "../../../support/virtio-driver/net-pair.ts";
import { SimHarness } from "../../../support/virtio-driver/sim-harness.ts";

const BASE = F.VERSION_1 | F.ACCESS_PLATFORM;

function featuresFor(options: PairOptions): bigint {
  return (
    BASE |
    (options.packed ? F.RING_PACKED : 0n) |
    (options.eventIdx ? F.EVENT_IDX : 0n) |
    (options.indirect ? F.INDIRECT_DESC : 0n)
  );
}

/** A device with pair 0 running. */
function rig(options: PairOptions & { shuffleSeed?: number; stable?: boolean; portFrames?: number } = {}) {
  const harness = new SimHarness({
    ...(options.shuffleSeed === undefined ? {} : { shuffleSeed: options.shuffleSeed }),
    ...(options.portFrames === undefined ? {} : { portFrames: options.portFrames }),
  });
  const memory = harness.memory(0x10_0000n, 2 << 20, options.stable ?? true);
  const pair = new NetPair(new RingMemory(memory), 0, options);
  expect(harness.negotiate(featuresFor(options))).toBe(true);
  expect(harness.enable(0, pair.rx)).toBe(true);
  expect(harness.enable(1, pair.tx)).toBe(true);
  harness.driverOk();
  return { harness, pair, memory };
}

const shapes = fc.record({
  packed: fc.boolean(),
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  stable: fc.boolean(),
  size: fc.constantFrom(4, 16, 64),
  pieces: fc.integer({ min: 1, max: 4 }),
  shuffleSeed: fc.option(fc.integer({ min: 0, max: 1000 }), { nil: undefined }),
});

test("every frame comes back once, in order, with its own header", () => {
  const lengths = fc.array(fc.integer({ min: 18, max: 2036 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(shapes, lengths, ({ shuffleSeed, ...shape }, sizes) => {
      const { harness, pair } = rig(shuffleSeed === undefined ? shape : { ...shape, shuffleSeed });
      const received: Uint8Array[] = [];
      let sent = 0;
      for (let round = 0; received.length < sizes.length; round++) {
        expect(round).toBeLessThan(10 * sizes.length + 10);
        pair.offer();
        if (pair.rx.publish()) harness.kick(0);
        while (sent < sizes.length && pair.send(testFrame(0, sent, sizes[sent]!))) sent++;
        if (pair.tx.publish()) harness.kick(1);
        harness.settle();
        for (const { frame, numBuffers } of pair.receive()) {
          expect(numBuffers).toBe(1);
          received.push(frame);
        }
      }
      expect(received).toEqual(sizes.map((length, i) => testFrame(0, i, length)));
      pair.reclaim();
      expect(pair.tx.free).toBe(pair.tx.size);
      expect(harness.log.lines).toEqual([]);
      harness.close();
    }),
    { numRuns: 60 },
  );
});

for (const packed of [false, true]) {
  const layout = packed ? "packed" : "split";

  test(`${layout}: without receive buffers frames wait and transmitting stops, nothing is lost`, () => {
    const { harness, pair } = rig({ packed, portFrames: 8, size: 64 });
    for (let i = 0; i < 64; i++) expect(pair.send(testFrame(0, i))).toBe(true);
    if (pair.tx.publish()) harness.kick(1);
    harness.settle();
    expect(pair.reclaim()).toBe(8);
    const frames: Uint8Array[] = [];
    for (let round = 0; frames.length < 64 && round < 100; round++) {
      pair.offer(5);
      if (pair.rx.publish()) harness.kick(0);
      harness.settle();
      frames.push(...pair.receive().map(({ frame }) => frame));
    }
    expect(frames).toEqual(Array.from({ length: 64 }, (_, i) => testFrame(0, i)));
    harness.close();
  });

  test(`${layout}: a frame that no receive buffer can hold is dropped and counted, the next one arrives`, () => {
    const { harness, pair } = rig({ packed });
    pair.offer(4, 100);
    pair.rx.publish();
    harness.kick(0);
    pair.send(testFrame(0, 0, 500));
    pair.send(testFrame(0, 1, 88));
    pair.tx.publish();
    harness.kick(1);
    harness.settle();
    expect(pair.receive().map(({ frame }) => frame)).toEqual([testFrame(0, 1, 88)]);
    expect(pair.reclaim()).toBe(2);
    expect(harness.device.counters.read().frames_too_long).toBe(1);
    harness.close();
  });

  test(`${layout}: shuffled completions differ from the ring's order and repeat with the seed`, () => {
    const order = (shuffleSeed: number) => {
      const { harness, pair } = rig({ packed, shuffleSeed });
      for (let i = 0; i < 16; i++) pair.send(testFrame(0, i));
      pair.tx.publish();
      harness.kick(1);
      harness.settle();
      const ids: number[] = [];
      for (let used = pair.tx.next(); used; used = pair.tx.next()) ids.push(used.id);
      harness.close();
      return ids;
    };
    const first = order(7);
    expect(first.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(first).not.toEqual(first.toSorted((a, b) => a - b));
    expect(order(7)).toEqual(first);
    expect(order(8)).not.toEqual(first);
  });

  test(`${layout}: RING_RESET starts one queue anew while the other keeps its place`, () => {
    const harness = new SimHarness();
    const memory = new RingMemory(harness.memory(0x10_0000n, 2 * NetPair.BYTES));
    const pair = new NetPair(memory, 0, { packed });
    harness.negotiate(BASE | F.RING_RESET | (packed ? F.RING_PACKED : 0n));
    harness.enable(0, pair.rx);
    harness.enable(1, pair.tx);
    harness.driverOk();
    pair.offer(3);
    pair.rx.publish();
    harness.kick(0);
    pair.send(testFrame(0, 1));
    pair.tx.publish();
    harness.kick(1);
    harness.settle();
    expect(pair.receive()).toHaveLength(1);

    harness.set("queue_select", 1);
    harness.set("queue_reset", 1);
    expect(harness.get("queue_reset")).toBe(0);
    expect(harness.get("queue_enable")).toBe(0);
    expect(harness.get("queue_size")).toBe(1024);
    const again = new NetPair(memory, NetPair.BYTES, { packed });
    expect(harness.enable(1, again.tx)).toBe(true);
    again.send(testFrame(0, 2));
    again.tx.publish();
    harness.kick(1);
    harness.settle();
    expect(pair.receive().map(({ frame }) => frame)).toEqual([testFrame(0, 2)]);
    harness.close();
  });
}

test("ordered faults of completions: an id that was never offered, a length beyond the chain", () => {
  const { harness, pair } = rig();
  harness.device.inject({ usedLenTooLong: true });
  pair.offer(1, 500);
  pair.rx.publish();
  pair.send(testFrame(0, 0));
  pair.tx.publish();
  harness.kick(1);
  harness.settle();
  expect(pair.rx.next()).toEqual({ id: 0, length: 501 });
  harness.device.inject({ usedLenTooLong: false, wrongUsedId: true });
  pair.reclaim();
  pair.send(testFrame(0, 0));
  pair.tx.publish();
  harness.kick(1);
  harness.settle();
  expect(pair.tx.next()?.id).toBe(69);
  harness.close();
});

test("ordered faults of completions: a chain twice, and a position that jumps", () => {
  for (const [fault, uses] of [
    ["usedTwice", 2],
    ["usedJumps", 65],
  ] as const) {
    const { harness, pair, memory } = rig();
    harness.device.inject({ [fault]: true });
    pair.send(testFrame(0, 0));
    pair.tx.publish();
    harness.kick(1);
    harness.settle();
    const { u16 } = memory.memory.window(0);
    expect(u16[Number(pair.tx.device - memory.iova + 2n) / 2]).toBe(uses);
    harness.close();
  }
});

test("a kick before DRIVER_OK does nothing", () => {
  const harness = new SimHarness();
  const pair = new NetPair(new RingMemory(harness.memory(0x10_0000n, 2 << 20)), 0);
  harness.negotiate(BASE);
  harness.enable(1, pair.tx);
  pair.send(testFrame(0, 0));
  pair.tx.publish();
  harness.kick(1);
  harness.settle();
  expect(pair.reclaim()).toBe(0);
  harness.driverOk();
  harness.kick(1);
  harness.settle();
  expect(pair.reclaim()).toBe(1);
  harness.close();
});
