import { expect, test } from "bun:test";
import fc from "fast-check";
import { recover } from "../../../src/vdpa/direct-position.ts";
import { baseOf } from "../../../src/vdpa/ring-base.ts";
import { PackedRingModel } from "./packed-ring-model.ts";

/** What a receive ring of chains of `length` shows after some schedule; whether the schedule left buffers in it. */
function shown(
  { size, length, inOrder, batches }: { size: number; length: number; inOrder: boolean; batches: boolean },
  ops: readonly { offer: number; id: number; use: number }[],
) {
  const ring = new PackedRingModel(0, { size, inOrder });
  let room = size;
  for (const { offer, id, use } of ops) {
    for (let i = 0; i < offer && room >= length; i++) {
      const free = Array.from({ length: size }, (_, n) => (n + id) % size).find(
        (n) => !ring.held.some((chain) => chain.id === n),
      );
      ring.offer(free!, length);
      room -= length;
    }
    const count = Math.min(use, ring.held.length);
    if (batches) ring.useAsOne(count);
    else ring.use(count);
    room += count * length;
  }
  const found = recover(ring.memory, ring.vring, ring.traits);
  ring.close();
  return { found, base: ring.base, held: ring.held.length };
}

const ops = fc.array(fc.record({ offer: fc.nat(12), id: fc.nat(23), use: fc.nat(6) }), {
  maxLength: 30,
  size: "max",
});

for (const length of [1, 2, 3, 5]) {
  test(`packed: a receive ring of buffers of ${length} descriptors shows where it stands`, () => {
    let known = 0;
    let runs = 0;
    fc.assert(
      fc.property(fc.integer({ min: length, max: 24 }), fc.boolean(), ops, (size, inOrder, all) => {
        const { found, base } = shown({ size, length, inOrder, batches: false }, all);
        runs++;
        if (found.kind !== "recovered") return;
        known++;
        if (found.verified || !inOrder) expect(baseOf(true, found.position)).toBe(base);
      }),
      { numRuns: 400 },
    );
    expect(known).toBeGreaterThan(0.7 * runs);
  });

  test(`packed: in batches of an IN_ORDER device, buffers of ${length} descriptors are not mistaken`, () => {
    fc.assert(
      fc.property(fc.integer({ min: length, max: 24 }), ops, (size, all) => {
        const { found, base } = shown({ size, length, inOrder: true, batches: true }, all);
        if (found.kind === "recovered" && found.verified) expect(baseOf(true, found.position)).toBe(base);
      }),
      { numRuns: 400 },
    );
  });
}

test("packed: while the driver is about to take the last used descriptor again a receive ring shows nothing", () => {
  const ring = new PackedRingModel(0, { size: 8 });
  const look = () => recover(ring.memory, ring.vring, ring.traits);
  for (let id = 0; id < 4; id++) ring.offer(id, 2);
  ring.use(4);
  for (let id = 0; id < 4; id++) ring.offer(id, 2);
  ring.use();
  expect(look()).toMatchObject({ kind: "recovered", inFlight: 6 });
  ring.offer(0, 2, () => expect(look()).toMatchObject({ reason: "a chain is being made available" }));
  const found = look();
  expect(found).toMatchObject({ kind: "recovered", inFlight: 8 });
  if (found.kind === "recovered") expect(baseOf(true, found.position)).toBe(ring.base);
  ring.close();
});
