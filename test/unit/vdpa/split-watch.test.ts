import { afterEach, expect, test } from "bun:test";
import fc from "fast-check";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { SplitWatch } from "../../../src/vdpa/split-watch.ts";
import { CollectedLog } from "../memory/collected-log.ts";
import { FakeDma } from "../memory/fake-dma.ts";

const AVAIL = 0x1000n;
const USED = 0x2000n;

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

/** A split ring in guest memory whose driver and device number what they do from `start` on. */
class SplitRingModel {
  readonly memory = new GuestMemory(new FakeDma(), { log: new CollectedLog() });
  /** Heads that the device holds, in the driver's order. */
  readonly held: number[] = [];
  availIndex: number;
  usedIndex: number;

  constructor(
    readonly size: number,
    start = 0,
  ) {
    const fd = memfd("guest", 0x3000);
    this.memory.replaceAll([{ description: { gpa: 0n, size: 0x3000n, uva: 0n, mmapOffset: 0n }, fd }]);
    closeFd(fd);
    cleanup.push(() => this.memory.clear());
    this.availIndex = start;
    this.usedIndex = start;
    this.memory.writeU16(AVAIL + 2n, start);
    this.memory.writeU16(USED + 2n, start);
  }

  watch(inOrder = false): SplitWatch {
    const addresses = { descGpa: 0n, driverGpa: AVAIL, deviceGpa: USED };
    const vring = { index: 1, size: this.size, ...addresses, base: 0, kickFd: -1, callFd: -1, enabled: true };
    return new SplitWatch(this.memory, vring, { packed: false, eventIdx: false, indirect: false, inOrder });
  }

  offer(...heads: number[]): void {
    for (const head of heads) {
      this.memory.writeU16(this.#slotOfAvail(this.availIndex), head);
      this.availIndex = (this.availIndex + 1) & 0xffff;
      this.held.push(head);
    }
    this.memory.writeU16(AVAIL + 2n, this.availIndex);
  }

  use(...heads: number[]): void {
    for (const head of heads) {
      const at = this.held.indexOf(head);
      if (at < 0) throw new Error(`the device does not hold ${head}`);
      this.held.splice(at, 1);
      this.putUsed(this.usedIndex, head);
      this.usedIndex = (this.usedIndex + 1) & 0xffff;
    }
    this.memory.writeU16(USED + 2n, this.usedIndex);
  }

  putUsed(index: number, head: number): void {
    const at = USED + BigInt(4 + 8 * (index % this.size));
    this.memory.writeU16(at, head & 0xffff);
    this.memory.writeU16(at + 2n, head >>> 16);
  }

  /** Heads that are available from the used index on. */
  get available(): number[] {
    const count = (this.availIndex - this.usedIndex) & 0xffff;
    return Array.from({ length: count }, (_, i) => {
      const [low, high] = this.memory.read(this.#slotOfAvail((this.usedIndex + i) & 0xffff), 2);
      return low! | (high! << 8);
    });
  }

  #slotOfAvail(index: number): bigint {
    return AVAIL + BigInt(4 + 2 * (index % this.size));
  }
}

test("what a device holds that begins to use out of order is known from what it held before", () => {
  const ring = new SplitRingModel(16, 65_530);
  const watch = ring.watch();
  ring.offer(0, 1, 2, 3, 4, 5);
  ring.use(0, 1);
  expect(watch.look()).toBe(true);
  ring.offer(6, 0);
  ring.use(4, 6);
  expect(watch.look()).toBe(true);
  ring.offer(4);
  ring.use(3);
  expect(watch.look()).toBe(true);
  expect(watch.leave()).toBe(ring.usedIndex);
  // From the used index on there is exactly what it holds, in the driver's order.
  expect(ring.available).toEqual([2, 5, 0, 4]);
});

test("a ring in the middle of completions out of order shows nothing until the device holds none of them", () => {
  const ring = new SplitRingModel(8);
  const watch = ring.watch();
  ring.offer(0, 1, 2);
  ring.use(1);
  expect(watch.look()).toBe(false);
  expect(watch.leave()).toBeUndefined();
  ring.use(2, 0);
  expect(watch.look()).toBe(true);
  ring.offer(5, 6);
  ring.use(6);
  expect(watch.look()).toBe(true);
  expect(watch.leave()).toBe(ring.usedIndex);
  expect(ring.available).toEqual([5]);
});

test("more than half a ring between two looks is not followed, as slots may have been written again", () => {
  const ring = new SplitRingModel(8);
  const watch = ring.watch();
  ring.offer(0, 1);
  expect(watch.look()).toBe(true);
  ring.use(1);
  for (let i = 0; i < 4; i++) {
    ring.offer(2);
    ring.use(2);
  }
  expect(watch.look()).toBe(false);
  expect(watch.leave()).toBeUndefined();
});

test("where the last look could not tell, what an earlier one showed is not given for it", () => {
  const ring = new SplitRingModel(8);
  let busy = false;
  let index = 0;
  const readU16 = ring.memory.readU16.bind(ring.memory);
  // A driver that makes entries available faster than its index can be read twice.
  ring.memory.readU16 = (gpa) => (busy && gpa === AVAIL + 2n ? index++ & 0xffff : readU16(gpa));
  const watch = ring.watch();
  ring.offer(0, 1, 2);
  expect(watch.look()).toBe(true);
  ring.use(1);
  busy = true;
  expect(watch.look()).toBe(false);
  expect(watch.leave()).toBeUndefined();
  busy = false;
  expect(watch.look()).toBe(true);
  expect(watch.leave()).toBe(ring.usedIndex);
  expect(ring.available).toEqual([0, 2]);
});

test("a head that the device can not have is followed no further", () => {
  for (const wrong of [7, 9, 65_536]) {
    const ring = new SplitRingModel(8);
    const watch = ring.watch();
    ring.offer(0, 1, 2);
    expect(watch.look()).toBe(true);
    ring.held.push(wrong);
    ring.use(wrong);
    expect(watch.look()).toBe(false);
  }
});

test("with IN_ORDER the used elements of a batch may be left out", () => {
  const ring = new SplitRingModel(8);
  const watch = ring.watch(true);
  ring.offer(0, 1, 2, 3, 4);
  expect(watch.look()).toBe(true);
  // One element for the batch of three: it names the last one, in the slot of the first (virtio 1.3 §2.7.9).
  ring.putUsed(0, 2);
  ring.usedIndex = 3;
  ring.memory.writeU16(USED + 2n, 3);
  expect(watch.look()).toBe(true);
  expect(watch.leave()).toBe(3);
  expect(ring.available).toEqual([3, 4]);
});

const operations = fc.array(
  fc.oneof(
    fc.record({ offer: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ use: fc.integer({ min: 1, max: 4 }), pick: fc.nat(63) }),
    fc.constant({ look: true }),
  ),
  { maxLength: 80 },
);

test("what a watch is sure of is what the device holds, whatever order it uses", () => {
  let sure = 0;
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 8, 16), operations, (size, steps) => {
      const ring = new SplitRingModel(size, 65_500);
      const watch = ring.watch();
      // From the beginning on, so that no completion out of order was missed.
      expect(watch.look()).toBe(true);
      let unseen = 0;
      const looked = () => {
        const expected = [...ring.held];
        // What is followed is never lost; where the watch begins anew, the in-order rule has to hold.
        if (watch.look() && unseen <= size / 2) {
          expect(watch.leave()).toBe(ring.usedIndex);
          expect(ring.available).toEqual(expected);
          sure++;
        } else if (unseen <= size / 2) {
          throw new Error("lost");
        }
        unseen = 0;
      };
      const free = () =>
        Array.from({ length: size }, (_, i) => i).filter((head) => !ring.held.includes(head));
      for (const step of steps) {
        if ("offer" in step) {
          const heads = free().slice(0, step.offer);
          if (unseen + heads.length > size / 2) looked();
          if (heads.length > size / 2) continue;
          unseen += heads.length;
          ring.offer(...heads);
        } else if ("use" in step) {
          if (unseen + step.use > size / 2) looked();
          for (let i = 0; i < Math.min(step.use, Math.floor(size / 2)) && ring.held.length > 0; i++) {
            ring.use(ring.held[(step.pick + i) % ring.held.length]!);
            unseen++;
          }
        } else {
          looked();
        }
      }
      looked();
    }),
    { numRuns: 600 },
  );
  expect(sure).toBeGreaterThan(500);
});
