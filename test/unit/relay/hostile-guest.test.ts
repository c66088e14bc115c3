import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { libc } from "../../../src/hw/ffi/libc.ts";
import { Model } from "./model.ts";
import { INDIRECT, NEXT, WRITE } from "./reference-driver.ts";
import { FIRST_GPA, PAGE } from "./stage.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

const DESC = FIRST_GPA;
const BUFFER = FIRST_GPA + 20 * PAGE;
const SIZE = 8;

let model: Model;
afterEach(() => model.close());

function make(packed: boolean, indirect = true, sealable = true): Model {
  model = new Model({ packed, size: SIZE, start: 0, wrap: 1, eventIdx: false, indirect, sealable });
  return model;
}

interface Raw {
  gpa?: number;
  length?: number;
  flags?: number;
  /** Next descriptor (split) or buffer id (packed). */
  last?: number;
}

/** Writes a descriptor as a guest might; in a packed ring it is available in the first lap. */
function put(at: number, packed: boolean, { gpa = BUFFER, length = 64, flags = 0, last = 0 }: Raw): void {
  model.stage.put(at, 4, gpa % 2 ** 32);
  model.stage.put(at + 4, 4, Math.floor(gpa / 2 ** 32));
  model.stage.put(at + 8, 4, length);
  model.stage.put(at + 12, 2, packed ? last : flags);
  model.stage.put(at + 14, 2, packed ? flags | 0x80 : last);
}

function offer(heads: readonly number[]): void {
  const avail = Number(model.ring.driverGpa);
  for (const [i, head] of heads.entries()) model.stage.put(avail + 4 + 2 * i, 2, head);
  model.stage.put(avail + 2, 2, heads.length);
}

function reason(): string {
  model.relay.forward();
  expect(model.relay.fault?.side).toBe("guest");
  expect(model.relay.counts.guestFaults).toBe(1);
  // It stays stopped, and quiet.
  expect(model.relay.forward() + model.relay.complete()).toBe(0);
  expect(model.relay.setGuestKicks(true)).toBe(false);
  return model.relay.fault!.message;
}

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    const one = (raw: Raw) => {
      put(DESC, packed, raw);
      if (!packed) offer([0]);
    };
    const table = (entries: readonly Raw[], raw: Raw = {}) => {
      for (const [i, entry] of entries.entries()) put(BUFFER + 16 * i, packed, entry);
      one({ flags: INDIRECT, length: 16 * entries.length, ...raw });
    };

    test("51 length 0, unmapped, past the end, wrapping around", () => {
      const end = FIRST_GPA + make(packed).stage.pages * PAGE;
      const refused = (raw: Raw) => {
        model.close();
        make(packed);
        one(raw);
        return reason();
      };
      expect(refused({ length: 0 })).toContain("length 0");
      expect(refused({ gpa: 0 })).toContain("not in guest memory");
      expect(refused({ gpa: end - 10, length: 11 })).toContain("not in guest memory");
      expect(refused({ gpa: 2 ** 53, length: 8 })).toContain("not in guest memory");
      expect(refused({ gpa: (2 ** 32 - 1) * 2 ** 32, length: 0xffff_ffff })).toContain("not in guest memory");
    });

    test("51 a buffer that spans two adjacent regions is one to the device", () => {
      make(packed);
      const split = FIRST_GPA + (model.stage.pages - (model.stage.pages >> 2)) * PAGE;
      one({ gpa: split - 100, length: 200, flags: WRITE });
      expect(model.relay.forward()).toBe(1);
      expect(model.relay.fault).toBeUndefined();
    });

    test("device-readable after device-writable", () => {
      make(packed);
      put(DESC, packed, { flags: WRITE | NEXT, last: 1 });
      put(DESC + 16, packed, {});
      if (!packed) offer([0]);
      expect(reason()).toContain("follows a device-writable");
    });

    test("50 indirect: empty, not a multiple of 16, too long, nested, with NEXT, outside of memory", () => {
      make(packed);
      const refused = (entries: readonly Raw[], raw: Raw = {}) => {
        model.close();
        make(packed);
        table(entries, raw);
        return reason();
      };
      expect(refused([], { length: 0 })).toContain("has 0 bytes");
      expect(refused([{}], { length: 24 })).toContain("has 24 bytes");
      expect(refused([{}], { length: 16 * 1025 })).toContain("1025 descriptors");
      expect(refused([{}], { length: 0xffff_fff0 })).toContain("descriptors, more than");
      expect(refused([{ flags: INDIRECT }])).toContain("inside an indirect table");
      expect(refused([{}], { flags: INDIRECT | NEXT })).toContain("both INDIRECT and NEXT");
      expect(refused([{}], { gpa: 0x10 })).toContain("not in guest memory");
      expect(refused([{}], { gpa: 2 ** 60 })).toContain("not in guest memory");
      expect(refused([{ gpa: 1 }])).toContain("not in guest memory");
    });

    test("50 indirect without the feature", () => {
      make(packed, false);
      one({ flags: INDIRECT, length: 16 });
      expect(reason()).toContain("not negotiated");
    });

    test("50 an indirect table at any address, across regions too, is read right", () => {
      for (const shift of [0, 1, 6, 15]) {
        make(packed);
        const split = FIRST_GPA + (model.stage.pages - (model.stage.pages >> 2)) * PAGE;
        const at = split - 16 + shift;
        put(at, packed, { flags: NEXT, last: 1 });
        put(at + 16, packed, { flags: WRITE, length: 77 });
        one({ gpa: at, flags: INDIRECT, length: 32 });
        expect(model.relay.forward()).toBe(1);
        expect(model.relay.fault).toBeUndefined();
        model.close();
      }
      make(packed);
    });

    test("49 a chain without an end", () => {
      make(packed);
      for (let i = 0; i < SIZE; i++)
        put(DESC + 16 * i, packed, { flags: NEXT, last: packed ? 3 : (i + 1) % SIZE });
      if (!packed) offer([0]);
      expect(reason()).toMatch(/does not end|more than 1024 descriptors/);
    });

    test("49 a loop in an indirect table, or a way out of it", () => {
      if (packed) return void make(packed); // The entries of a packed table have no successors.
      make(packed);
      table([{ flags: NEXT, last: 0 }]);
      expect(reason()).toContain("more than 1024");
      model.close();
      make(packed);
      table([{ flags: NEXT, last: 1 }]);
      expect(reason()).toContain("descriptor 1 follows in an indirect table of 1");
    });

    test("what came before the malformed chain is served", () => {
      make(packed);
      put(DESC, packed, { flags: WRITE, last: 0 });
      put(DESC + 16, packed, { length: 0 });
      if (!packed) offer([0, 1]);
      expect(model.relay.forward()).toBe(1);
      expect(model.relay.fault?.message).toContain("length 0");
      expect(model.relay.closeHoles()).toEqual(
        packed
          ? { availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 }
          : { availPosition: 0, availWrap: 0, usedPosition: 0, usedWrap: 0 },
      );
    });

    test("the file of the ring is truncated while it runs", () => {
      make(packed, true, false);
      model.add(16);
      model.driver.publish();
      expect(model.relay.forward()).toBe(1);
      expect(libc.ftruncate(model.stage.fds[0]!, 0)).toBe(0);
      expect(reason()).toContain("truncated");
      model.relay.closeHoles();
    });
  });
}

describe("split", () => {
  test("49 head and next beyond the ring", () => {
    make(false);
    offer([SIZE]);
    expect(reason()).toContain(`head ${SIZE} is available`);
    model.close();
    make(false);
    put(DESC, false, { flags: NEXT, last: SIZE });
    offer([0]);
    expect(reason()).toContain(`descriptor ${SIZE} follows`);
  });

  test("52 the index jumps, or goes backward", () => {
    for (const index of [SIZE + 1, 40_000, 65_535]) {
      make(false);
      model.stage.put(Number(model.ring.driverGpa) + 2, 2, index);
      expect(reason()).toContain(`went from 0 to ${index}`);
      if (index < 65_535) model.close();
    }
  });

  test("a head that is available twice", () => {
    make(false);
    put(DESC, false, {});
    offer([0, 0]);
    expect(reason()).toContain("again while it is in use");
  });
});

test("49–53 a guest that scribbles over everything is survived", () => {
  const spots = fc.array(fc.tuple(fc.nat(2 ** 20), fc.integer({ min: 0, max: 0xffff })), {
    maxLength: 60,
    size: "max",
  });
  const interesting = fc.constantFrom(0, 1, 2, 4, 6, 0x80, 0x8000, 0x8080, 0x81, 0x84, 0xffff);
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.boolean(),
      spots,
      fc.array(interesting, { maxLength: 40, size: "max" }),
      (packed, inPlace, writes, kinds) => {
        model?.close();
        make(packed, true, inPlace);
        model.setLogging(true);
        const ringBytes = 3 * PAGE + 256;
        for (const [i, [where, value]] of writes.entries()) {
          model.add(where);
          if (i % 3 === 0) model.driver.publish();
          const at = FIRST_GPA + ((where % ringBytes) & ~1);
          model.stage.put(at, 2, kinds.length > 0 && i % 2 === 0 ? kinds[i % kinds.length]! : value);
          if (i % 5 === 0)
            model.stage.put(DESC + 16 * (where % SIZE) + 14, 2, kinds[i % (kinds.length || 1)] ?? 0x80);
          model.relay.forward();
          model.relay.complete();
          model.relay.callWanted();
          model.relay.setGuestKicks(i % 2 === 0);
          expect(model.relay.outstanding).toBeLessThanOrEqual(SIZE);
        }
        const position = model.relay.closeHoles();
        expect(position.usedPosition).toBeLessThan(packed ? SIZE : 65_536);
        expect(model.stage.log.failures).toBe(0);
      },
    ),
    { numRuns: 300 },
  );
  // The next guest works.
  model.close();
  make(true);
  model.add(5);
  model.settle();
  expect(model.reaped.length).toBe(1);
});
