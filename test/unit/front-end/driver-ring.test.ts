import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type DriverRing, passed } from "../../support/front-end/driver-ring.ts";
import { createRegions, type Region } from "../../support/front-end/guest-memory.ts";
import { PackedRing } from "../../support/front-end/packed-ring.ts";
import { type Layout, PacketBuffer } from "../../support/front-end/packet-buffer.ts";
import { SplitRing } from "../../support/front-end/split-ring.ts";
import { PackedDevice, type Seen, SplitDevice } from "./device-model.ts";

const LAYOUTS: readonly Layout[] = ["single", "chain", "indirect"];
const regions: Region[] = [];
afterEach(() => {
  for (const region of regions.splice(0)) region.close();
});

function setUp(packed: boolean, size: number) {
  const [region] = createRegions([{ gpa: 1n << 33n, uva: 1n << 40n, size: 1 << 20, file: "unit" }]);
  regions.push(region!);
  const ring: DriverRing<PacketBuffer> = packed
    ? new PackedRing(region!, size, false)
    : new SplitRing(region!, size, false);
  const device = packed ? new PackedDevice(ring, region!) : new SplitDevice(ring, region!);
  const buffers = Array.from(
    { length: size },
    (_, i) => new PacketBuffer(region!, LAYOUTS[i % 3]!, i % 2 === 0),
  );
  return { ring, device, buffers };
}

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    test("what the driver adds, the device sees; what it uses, in any order, comes back once", () => {
      fc.assert(
        fc.property(fc.constantFrom(4, 8, 16), fc.array(fc.nat(99), { maxLength: 200 }), (size, choices) => {
          const { ring, device, buffers } = setUp(packed, size);
          const idle = [...buffers];
          const expected: PacketBuffer[] = [];
          const held: { seen: Seen; buffer: PacketBuffer }[] = [];
          const out = new Map<PacketBuffer, number>();
          for (const choice of choices) {
            const buffer = idle.at(-1);
            if (choice % 3 === 0 && buffer && ring.fits(buffer.chain)) {
              idle.pop();
              ring.add(buffer.chain, buffer);
              expected.push(buffer);
              ring.publish();
            } else if (choice % 3 === 1) {
              const seen = device.next();
              if (!seen) continue;
              const owner = expected.shift()!;
              expect(seen.segments).toEqual(asSegments(owner));
              held.push({ seen, buffer: owner });
            } else if (held.length > 0) {
              const [{ seen, buffer: done }] = held.splice(choice % held.length, 1) as [
                (typeof held)[number],
              ];
              device.use(seen, choice);
              out.set(done, choice);
              const used = ring.take()!;
              expect(used).toEqual({ token: done, length: choice });
              idle.push(done);
            }
            expect(ring.outstanding).toBe(expected.length + held.length);
          }
          expect(ring.take()).toBeUndefined();
        }),
        { numRuns: 60 },
      );
    });

    test("a ring that is reset begins anew", () => {
      const { ring, device, buffers } = setUp(packed, 4);
      ring.add(buffers[0]!.chain, buffers[0]!);
      ring.publish();
      expect(device.next()).toBeDefined();
      ring.reset();
      expect(ring.outstanding).toBe(0);
      expect(ring.take()).toBeUndefined();
    });

    test("a used id that is not outstanding is noticed", () => {
      const { ring, device, buffers } = setUp(packed, 4);
      ring.add(buffers[0]!.chain, buffers[0]!);
      ring.publish();
      const seen = device.next()!;
      device.use({ ...seen, id: (seen.id + 1) % 4 }, 12);
      expect(() => ring.take()).toThrow(/not outstanding/);
    });

    test("arm says whether something is there", () => {
      const { ring, device, buffers } = setUp(packed, 4);
      ring.add(buffers[0]!.chain, buffers[0]!);
      ring.publish();
      expect(ring.arm()).toBe(false);
      device.use(device.next()!, 12);
      expect(ring.arm()).toBe(true);
    });
  });
}

test("passed: an event is passed once, across the wrap of 16 bits", () => {
  expect(passed(4, 5, 4)).toBe(true);
  expect(passed(5, 5, 4)).toBe(false);
  expect(passed(3, 5, 4)).toBe(false);
  expect(passed(0xffff, 1, 0xfffe)).toBe(true);
  expect(passed(0, 1, 0xfffe)).toBe(true);
});

function asSegments(buffer: PacketBuffer): Seen["segments"] {
  const { segments, count, write } = buffer.chain;
  return segments.slice(0, count).map(({ low, high, length }) => ({
    gpa: BigInt(low) | (BigInt(high) << 32n),
    length,
    write,
  }));
}
