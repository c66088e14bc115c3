import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { Chain } from "../../../src/hw/sim/chain.ts";
import { LocalMemory } from "../../../src/hw/sim/local-memory.ts";
import { Model } from "./model.ts";
import { INDIRECT, NEXT, WRITE } from "./reference-driver.ts";
import { FIRST_GPA, PAGE } from "./stage.ts";

/** Far beyond what it takes: only a loop without an end should meet it. */
setDefaultTimeout(300_000);

const TABLE = FIRST_GPA + 20 * PAGE;
const BUFFERS = FIRST_GPA + 30 * PAGE;
/** The longest chain that a relay takes; the ring's size is not its measure. */
const LONGEST = 1024;
const WRITTEN = 1 << 16;

/** Mostly a good descriptor, as every bad one ends its ring. */
const descriptor = fc.record({
  gpa: fc.oneof(
    { weight: 20, arbitrary: fc.nat(16 * PAGE).map((at) => BUFFERS + at) },
    { weight: 4, arbitrary: fc.nat(20).map((at) => TABLE + 16 * at) },
    { weight: 2, arbitrary: fc.nat(PAGE).map((at) => FIRST_GPA + at) },
    { weight: 1, arbitrary: fc.constantFrom(0, FIRST_GPA - 1, 2 ** 32 - 8, 2 ** 53, 2 ** 63) },
  ),
  length: fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: 1, max: 3 * PAGE }) },
    { weight: 8, arbitrary: fc.integer({ min: 1, max: 20 }).map((n) => 16 * n) },
    { weight: 1, arbitrary: fc.constantFrom(0, 17, 16 * 1025, 2 ** 31, 2 ** 32 - 1) },
  ),
  flags: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(0, 0, WRITE, WRITE, WRITE, NEXT | WRITE) },
    { weight: 1, arbitrary: fc.constantFrom(NEXT, INDIRECT, INDIRECT, INDIRECT | NEXT, 7) },
  ),
  last: fc.oneof({ weight: 10, arbitrary: fc.nat(15) }, { weight: 1, arbitrary: fc.nat(65_535) }),
});
type Descriptor = typeof descriptor extends fc.Arbitrary<infer T> ? T : never;

const content = fc.record({
  packed: fc.boolean(),
  sealable: fc.boolean(),
  eventIdx: fc.boolean(),
  indirect: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  descriptors: fc.array(descriptor, { minLength: 16, maxLength: 16 }),
  table: fc.array(descriptor, { maxLength: 20, size: "max" }),
  heads: fc.oneof(
    { weight: 4, arbitrary: fc.shuffledSubarray([...Array(16).keys()], { minLength: 1, maxLength: 6 }) },
    { weight: 1, arbitrary: fc.array(fc.nat(17), { minLength: 1, maxLength: 16, size: "max" }) },
  ),
  jump: fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(65_535) }),
  order: fc.array(fc.nat(), { minLength: 16, maxLength: 16 }),
});

function put(
  model: Model,
  at: number,
  { gpa, length, flags, last }: Descriptor,
  packed: boolean,
  more = 0,
): void {
  model.stage.put(at, 4, gpa % 2 ** 32);
  model.stage.put(at + 4, 4, Math.floor(gpa / 2 ** 32));
  model.stage.put(at + 8, 4, length);
  model.stage.put(at + 12, 2, packed ? last : flags);
  model.stage.put(at + 14, 2, packed ? flags | more : last);
}

const seen = { forwarded: 0, faults: 0, clean: 0 };

test("49–52 whatever a guest writes: what is forwarded is sound to the device, and all that is written is logged", () => {
  const local = new LocalMemory(WRITTEN);
  fc.assert(
    fc.property(content, ({ descriptors, table, heads, jump, order, ...traits }) => {
      const { packed } = traits;
      const model = new Model({ ...traits, size: 16, start: 0, wrap: 1 });
      try {
        model.setLogging(true);
        for (const [i, entry] of table.entries()) put(model, TABLE + 16 * i, entry, packed);
        for (const [i, entry] of descriptors.entries()) {
          // As many of a packed ring are available as there are heads.
          put(model, FIRST_GPA + 16 * i, entry, packed, i < heads.length ? 0x80 : 0);
        }
        if (!packed) {
          const avail = Number(model.ring.driverGpa);
          for (const [i, head] of heads.entries()) model.stage.put(avail + 4 + 2 * i, 2, head);
          model.stage.put(avail + 2, 2, (heads.length + jump) & 0xffff);
        }
        const forwarded = model.relay.forward();
        expect(model.relay.outstanding).toBe(forwarded);

        // The device reads what it was given: it would throw for anything that is no chain, or no memory of its own.
        const chains: Chain[] = [];
        for (let chain = new Chain(LONGEST); model.device.peek(chain); chain = new Chain(LONGEST)) {
          model.device.take(chain);
          chains.push(chain);
        }
        expect(chains.length).toBe(forwarded);
        for (const chain of chains) {
          local.u8.fill(1 + chains.indexOf(chain));
          chain.write(model.stage.port, local, 0, Math.min(chain.writeBytes, WRITTEN));
        }
        const done = chains.map((chain, i) => ({ chain, at: order[i]! })).sort((a, b) => a.at - b.at);
        const some = done.slice(0, Math.ceil(done.length / 2));
        for (const { chain } of some)
          model.device.complete(chain.id, chain.slots, Math.min(chain.writeBytes, 7));
        model.device.publish();

        // A ring that has stopped gives back what the device holds instead, completed or not.
        expect(model.relay.complete()).toBe(model.relay.fault ? 0 : some.length);
        model.relay.callWanted();
        model.relay.setGuestKicks(true);
        expect(model.relay.fault?.side ?? "guest").toBe("guest");
        const position = model.relay.closeHoles();
        expect(position.usedPosition).toBeLessThan(packed ? 16 : 65_536);
        expect(model.stage.log.failures).toBe(0);
        expect(model.stage.changedPages().filter((page) => !model.stage.isLogged(page))).toEqual([]);
        seen.forwarded += forwarded;
        if (model.relay.fault) seen.faults++;
        else seen.clean++;
      } finally {
        model.close();
      }
    }),
    { numRuns: 3000 },
  );
  // Neither must everything be refused nor everything be fine.
  expect(Math.min(seen.forwarded, seen.faults, seen.clean)).toBeGreaterThan(300);
});
