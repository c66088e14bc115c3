import { afterEach, expect, test } from "bun:test";
import fc from "fast-check";
import type { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { PackedWatch } from "../../../src/vdpa/packed-watch.ts";
import { PackedRingModel } from "./packed-ring-model.ts";

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

function watched(options: { size?: number; inOrder?: boolean; index?: 0 | 1 } = {}) {
  const ring = new PackedRingModel(options.index ?? 1, options);
  cleanup.push(() => ring.close());
  return { ring, watch: new PackedWatch(ring.memory, ring.vring, ring.traits) };
}

function offerAll(ring: PackedRingModel, ids: number[], length = 1): void {
  for (const id of ids) ring.offer(id, length);
}

const upTo = (end: number) => Array.from({ length: end }, (_, i) => i);

test("enough chains used in order, over several looks, show it", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(20));
  expect(watch.look()).toBe(false);
  ring.use(9);
  expect(watch.look()).toBe(false);
  ring.use(7);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

/** Memory in which something happens while it is copied, `times` times. */
function tearing(ring: PackedRingModel, times: number, between: (count: number) => void): GuestMemory {
  let count = 0;
  const { memory } = ring;
  return Object.assign(Object.create(memory), {
    read(gpa: bigint, length: number): Uint8Array {
      if (count >= times) return memory.read(gpa, length);
      const bytes = memory.read(gpa, length);
      const late = length / 2;
      between(count++);
      bytes.set(memory.read(gpa + BigInt(late), length - late), late);
      return bytes;
    },
  }) as GuestMemory;
}

test("a device that uses chains while the ring is copied does not mislead", () => {
  const { ring } = watched({ size: 32, index: 0 });
  offerAll(ring, upTo(32));
  ring.use(14);
  let torn = false;
  // The copy's first half still shows chains 14 and 15 as available, the second one 16 and 17 as used.
  const memory = tearing(ring, Number.POSITIVE_INFINITY, () => {
    if (torn) ring.use(4);
    torn = false;
  });
  const watch = new PackedWatch(memory, ring.vring, ring.traits);
  watch.look();
  torn = true;
  watch.look();
  expect(watch.broken).toBe(false);
  ring.use(12);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("a ring that never stands still shows nothing, and does not mislead later on", () => {
  const { ring } = watched({ size: 16, index: 0 });
  offerAll(ring, upTo(16));
  let id = 0;
  const memory = tearing(ring, 40, () => {
    ring.use(1);
    ring.offer(id++ % 16);
  });
  const watch = new PackedWatch(memory, ring.vring, ring.traits);
  for (let i = 0; i < 2; i++) expect(watch.look()).toBe(false);
  expect(watch.base).toBeUndefined();
  for (let i = 0; i < 3; i++) watch.look();
  expect(watch.broken).toBe(false);
  expect(watch.base).toBe(ring.base);
});

test("a batch whose first chain is written last is no completion out of order", () => {
  for (const looks of [1, 3]) {
    const { ring } = watched({ size: 8, index: 0 });
    let ms = 0;
    const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
    const again = () =>
      offerAll(
        ring,
        upTo(8).filter((id) => !ring.held.some((chain) => chain.id === id)),
      );
    for (let lap = 0; lap < 6; lap++) {
      again();
      watch.look();
      ring.useBatch(3, () => {
        for (let i = 0; i < looks; i++) {
          ms += 100 / looks;
          expect(watch.look()).toBe(false);
        }
      });
      watch.look();
    }
    ring.use(2);
    expect(watch.broken).toBe(false);
    expect(watch.look()).toBe(true);
    expect(watch.base).toBe(ring.base);
  }
});

test("a gap between used descriptors that stays is one", () => {
  const { ring } = watched({ size: 8, index: 0 });
  let ms = 0;
  const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
  offerAll(ring, upTo(7));
  ring.use(1);
  watch.look();
  ring.useBatch(3, () => {
    watch.look();
    ms = 249;
    watch.look();
    expect(watch.broken).toBe(false);
    ms = 250;
    expect(watch.look()).toBe(false);
    expect(watch.broken).toBe(true);
  });
});

test("a ring on which nothing happens while chains are available shows nothing", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(20));
  for (let i = 0; i < 20; i++) expect(watch.look()).toBe(false);
  expect(watch.base).toBeUndefined();
});

test("what is empty leaves no doubt, nor does a receive ring that is full", () => {
  const { ring, watch } = watched({ size: 8, index: 0 });
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
  offerAll(ring, upTo(8));
  expect(new PackedWatch(ring.memory, ring.vring, ring.traits).look()).toBe(true);
  // A transmit ring may hold what is left of a chain that was used.
  expect(new PackedWatch(ring.memory, { ...ring.vring, index: 1 }, ring.traits).look()).toBe(false);
});

test("one chain out of order is enough to not trust the ring while it holds any", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(20));
  expect(watch.look()).toBe(false);
  ring.use(1, 1);
  ring.use(1, 0);
  expect(watch.look()).toBe(false);
  expect(watch.broken).toBe(true);
  ring.use(13);
  expect(watch.look()).toBe(false);
});

test("a new chain with the id of the one just used is told from its rest", () => {
  const { ring, watch } = watched();
  for (let i = 0; i < 3; i++) {
    ring.offer(0);
    ring.use();
  }
  ring.offer(0);
  // The rest of a chain of two would look the same.
  expect(watch.look()).toBe(false);
  ring.offer(1);
  expect(watch.look()).toBe(false);
  ring.use(2);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
  ring.offer(1);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("the rest of a used chain is told from a new one", () => {
  const { ring, watch } = watched();
  ring.offer(0, 2);
  ring.use();
  expect(watch.look()).toBe(false);
  ring.offer(1, 3);
  expect(watch.look()).toBe(false);
  ring.use();
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("what may be a driver in the middle of its work is the rest of an old chain once it has stayed so", () => {
  const { ring } = watched({ size: 8 });
  let ms = 0;
  const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
  for (const length of [2, 3, 3]) ring.offer(length, length);
  ring.use(3);
  ring.offer(0);
  ring.use();
  expect(watch.look()).toBe(false);
  ms = 49;
  expect(watch.look()).toBe(false);
  ms = 50;
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("behind the last used chain of a quiet transmit ring stands its rest, where the driver makes such chains", () => {
  const { ring } = watched();
  let ms = 0;
  const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
  for (let i = 0; i < 3; i++) {
    ring.offer(7, 2);
    ring.use();
  }
  expect(watch.look()).toBe(false);
  ms = 249;
  expect(watch.look()).toBe(false);
  ms = 250;
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
  // One that is sent now has the id of the last one.
  ring.offer(7, 2);
  watch.look();
  ring.use();
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("what a device does not take is no rest: of single descriptors, with more behind it, or in a receive ring", () => {
  const single = watched();
  single.ring.offer(7);
  single.ring.use();
  single.ring.offer(7);
  const more = watched();
  for (let i = 0; i < 2; i++) {
    more.ring.offer(7, 2);
    more.ring.use();
  }
  more.ring.offer(6);
  const receive = watched({ index: 0 });
  receive.ring.offer(7, 3);
  receive.ring.use();
  for (const { ring } of [single, more, receive]) {
    let ms = 0;
    const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
    watch.look();
    ms = 10_000;
    expect(watch.look()).toBe(false);
  }
});

test("a new ring that has gone round between two looks is found anew", () => {
  const { ring, watch } = watched({ size: 4 });
  expect(watch.look()).toBe(true);
  for (let i = 0; i < 2; i++) {
    ring.offer(0, 3);
    ring.use();
  }
  ring.offer(0, 3);
  expect(watch.look()).toBe(false);
});

test("a transmit ring full of chains is not certain, as one of them may be used already", () => {
  const { ring, watch } = watched({ size: 4 });
  ring.offer(0, 2);
  ring.offer(1);
  ring.offer(2);
  ring.use(1, 1);
  ring.use(1, 2);
  ring.offer(1);
  ring.offer(3);
  expect(watch.look()).toBe(false);
});

test("chains of any length are followed over many laps", () => {
  for (const inOrder of [false, true]) {
    const { ring, watch } = watched({ inOrder });
    offerAll(ring, upTo(6), 3);
    watch.look();
    for (let round = 0; round < 200; round++) {
      ring.use(1 + (round % 4));
      if (watch.look()) expect(watch.base).toBe(ring.base);
      for (let id = round % 32; ring.held.length < 6; id = (id + 7) % 32) {
        if (!ring.held.some((chain) => chain.id === id)) ring.offer(id, 1 + (round % 3));
      }
      watch.look();
    }
    expect(watch.look()).toBe(true);
    expect(watch.base).toBe(ring.base);
  }
});

test("a watch that was outrun begins anew and does not mislead", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(18));
  watch.look();
  ring.use(17);
  expect(watch.look()).toBe(true);
  ring.use();
  // Nobody looked while these came and went.
  offerAll(ring, upTo(3), 2);
  ring.use(3);
  offerAll(ring, [2], 1);
  expect(watch.look()).toBe(false);
  offerAll(ring, [5, 6]);
  watch.look();
  ring.use(3);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("a ring whose driver has made all available again behind the watch's back", () => {
  const { ring, watch } = watched({ size: 8, index: 0 });
  offerAll(ring, upTo(8));
  ring.use(4);
  offerAll(ring, upTo(2));
  watch.look();
  ring.use(6);
  offerAll(ring, upTo(8));
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("buffers that were used and made available again between two looks are no completion out of order", () => {
  const { ring } = watched({ size: 16, index: 0 });
  let ms = 0;
  const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
  offerAll(ring, upTo(16));
  ring.use(4);
  offerAll(ring, upTo(2));
  watch.look();
  ring.use(6);
  offerAll(ring, [2, 3, 4, 5, 6, 7]);
  // Nothing comes for so long that the last batch would be complete.
  for (let i = 0; i < 3; i++) {
    watch.look();
    ms += 250;
  }
  expect(watch.broken).toBe(false);
  for (let i = 0; i < 2; i++) {
    const used = ring.held.slice(0, 8).map(({ id }) => id);
    ring.use(8);
    watch.look();
    offerAll(ring, used);
    watch.look();
  }
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("a transmit ring that its driver keeps full shows where it stands once it was seen to move by a lap", () => {
  const { ring, watch } = watched({ size: 8 });
  offerAll(ring, upTo(8));
  ring.use(2);
  offerAll(ring, [1, 0]);
  expect(watch.look()).toBe(false);
  for (let i = 0; i < 5; i++) {
    const used = ring.held.slice(0, 3).map(({ id }) => id);
    ring.use(3);
    offerAll(ring, used.reverse());
    expect(watch.look()).toBe(i > 1);
    if (i > 1) expect(watch.base).toBe(ring.base);
  }
  // Nobody looks while it goes round.
  for (let i = 0; i < 3; i++) {
    const used = ring.held.slice(0, 6).map(({ id }) => id);
    ring.use(6);
    offerAll(ring, used);
  }
  expect(watch.look()).toBe(false);
  expect(watch.broken).toBe(false);
});

test("what is left of a chain of several, used out of order, does not pass for a chain of a full ring", () => {
  const { ring, watch } = watched({ size: 3 });
  ring.offer(1, 2);
  ring.offer(2);
  ring.use(1, 2);
  expect(watch.look()).toBe(false);
  // In the place of chain 1's first descriptor.
  ring.offer(0);
  expect(watch.look()).toBe(false);
});

test("chains that were used in order show it where the driver has taken the first ones' places again", () => {
  const { ring, watch } = watched();
  offerAll(ring, upTo(30));
  watch.look();
  ring.use(20);
  offerAll(ring, [3, 2, 1, 0]);
  expect(watch.look()).toBe(true);
  expect(watch.base).toBe(ring.base);
});

test("a ring that went round between two looks, so that other chains stand there, shows no disorder", () => {
  const { ring } = watched({ size: 8, index: 0 });
  const watch = new PackedWatch(ring.memory, ring.vring, ring.traits);
  offerAll(ring, upTo(8));
  ring.use();
  watch.look();
  // Two laps, in each of which the driver takes the ids the other way round.
  for (let lap = 0; lap < 2; lap++) {
    const used = ring.held.slice(0, 6).map(({ id }) => id);
    ring.use(6);
    offerAll(ring, used.reverse());
  }
  ring.use(6);
  watch.look();
  expect(watch.broken).toBe(false);
});

test("a new chain with the id of a used one whose rest is left is no completion out of order", () => {
  const { ring, watch } = watched({ size: 8, index: 0 });
  ring.offer(5, 3);
  ring.use();
  ring.offer(5, 3);
  ring.offer(0, 2);
  expect(watch.look()).toBe(false);
  expect(watch.broken).toBe(false);
});

/** What happens to a ring: chains made available, chains used, looks, and time that passes. */
const steps = (lengths: fc.Arbitrary<number>) => {
  const ms = fc.constantFrom(0, 5, 300);
  return fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ offer: lengths, id: fc.nat(12) }) },
      { weight: 6, arbitrary: fc.record({ use: fc.integer({ min: 1, max: 8 }) }) },
      { weight: 3, arbitrary: fc.record({ batch: fc.integer({ min: 2, max: 8 }), looks: fc.nat(3) }) },
      { weight: 5, arbitrary: fc.record({ ms }) },
    ),
    { maxLength: 120, size: "max" },
  );
};

for (const index of [0, 1] as const) {
  for (const most of [1, 3]) {
    test(`ring ${index}: what a watch is sure of is so, order is not denied, chains of up to ${most}`, () => {
      fc.assert(
        fc.property(fc.constantFrom(1, 4, 8, 13), steps(fc.integer({ min: 1, max: most })), (size, ops) => {
          const ring = new PackedRingModel(index, { size });
          let ms = 0;
          let room = size;
          let unseen = 0;
          const watch = new PackedWatch(ring.memory, ring.vring, ring.traits, () => ms);
          const look = () => {
            unseen = 0;
            if (watch.look()) expect(watch.base).toBe(ring.base);
            expect(watch.broken).toBe(false);
          };
          /** The next chains to use: of several descriptors no more than half a lap between two looks. */
          const next = (count: number) => {
            let descriptors = 0;
            let n = 0;
            while (n < Math.min(count, ring.held.length)) {
              descriptors += ring.held[n]!.length;
              if (most > 1 && unseen + descriptors > size / 2) break;
              n++;
            }
            const used = ring.held.slice(0, n);
            for (const { length } of used) {
              room += length;
              unseen += length;
            }
            return n;
          };
          try {
            for (const op of ops) {
              if ("offer" in op) {
                // Drivers make all receive buffers alike.
                const length = index === 0 ? most : op.offer;
                if (length > room || op.id >= size || ring.held.some(({ id }) => id === op.id)) continue;
                ring.offer(op.id, length);
                room -= length;
              } else if ("use" in op) {
                ring.use(next(op.use));
              } else if ("batch" in op) {
                const count = next(op.batch);
                ring.useBatch(count, () => {
                  if (count < 2) return;
                  for (let i = 0; i < op.looks; i++) {
                    ms += 80;
                    look();
                  }
                });
              } else {
                // A transmit ring is rung between the looks, so that nothing stays in it for long.
                if (index === 0 || most === 1 || ring.held.length === 0) ms += op.ms;
                look();
              }
            }
          } finally {
            ring.close();
          }
        }),
        { numRuns: 1500 },
      );
    });
  }
}
