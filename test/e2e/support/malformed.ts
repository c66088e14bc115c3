import type { GuestOptions } from "../../support/front-end/guest.ts";
import { INDIRECT, NEXT, type RawRing, WRITE } from "./raw-ring.ts";
import { RING_SIZE, type Victim } from "./ring-fault.ts";

const last = (hit: Victim) => {
  const { gpa, size } = hit.guest.regions[2]!.description;
  return gpa + size;
};

/** Writes what is malformed. */
type Spoil = (raw: RawRing, hit: Victim) => void;
/** Ring content that no driver may write, and what is said about it. */
export interface Case {
  readonly item: number;
  readonly what: string;
  readonly reason: RegExp;
  readonly spoil: Spoil;
  readonly only?: "split" | "packed";
  readonly options?: GuestOptions;
}

/** Items 49 to 52. Before each, 37 chains of both directions have passed through the ring. */
export const MALFORMED: readonly Case[] = [
  ...[RING_SIZE, RING_SIZE + 1, 0xffff].map(
    (head): Case => ({
      item: 49,
      what: `head ${head} of a ring of ${RING_SIZE}`,
      only: "split",
      reason: new RegExp(`head ${head} is available in a ring of ${RING_SIZE}`),
      spoil: (raw) => {
        raw.offer(head);
        raw.queue.signal();
      },
    }),
  ),
  ...[RING_SIZE, 0xffff].map(
    (next): Case => ({
      item: 49,
      what: `descriptor ${next} follows`,
      only: "split",
      reason: new RegExp(`descriptor ${next} follows in a ring of ${RING_SIZE}`),
      spoil: (raw) => raw.chain({ flags: NEXT, last: next }),
    }),
  ),
  {
    item: 49,
    what: "a descriptor that follows itself",
    only: "split",
    reason: /more than 1024 descriptors/,
    spoil: (raw) => raw.chain({ flags: NEXT, last: 0 }),
  },
  {
    item: 49,
    what: "a loop through the whole ring",
    reason: /more than 1024 descriptors|does not end/,
    spoil: (raw) =>
      raw.chain(...Array.from({ length: RING_SIZE }, (_, i) => ({ flags: NEXT, last: (i + 1) % RING_SIZE }))),
  },
  {
    item: 49,
    what: "a loop in an indirect table",
    only: "split",
    reason: /more than 1024 descriptors/,
    spoil: (raw) => raw.chain(raw.table({ flags: NEXT, last: 1 }, { flags: NEXT, last: 0 })),
  },
  {
    item: 49,
    what: "a way out of an indirect table",
    only: "split",
    reason: /descriptor 2 follows in an indirect table of 2/,
    spoil: (raw) => raw.chain(raw.table({ flags: NEXT, last: 1 }, { flags: NEXT, last: 2 })),
  },
  ...[
    [0, "has 0 bytes"],
    [15, "has 15 bytes"],
    [24, "has 24 bytes"],
    [16 * 1025, "1025 descriptors, more than 1024"],
    [0xffff_fff0, "268435455 descriptors, more than 1024"],
    [0xffff_ffff, "has 4294967295 bytes"],
  ].map(
    ([length, reason]): Case => ({
      item: 50,
      what: `an indirect table of ${length} bytes`,
      reason: new RegExp(reason as string),
      spoil: (raw) => raw.chain({ ...raw.table({}), length: length as number }),
    }),
  ),
  {
    item: 50,
    what: "a table in a table",
    reason: /an indirect descriptor inside an indirect table/,
    spoil: (raw) => raw.chain(raw.table({ flags: INDIRECT, length: 16 })),
  },
  {
    item: 50,
    what: "a table with a successor",
    reason: /both INDIRECT and NEXT/,
    spoil: (raw) => raw.chain({ ...raw.table({}), flags: INDIRECT | NEXT, last: 1 }, {}),
  },
  {
    item: 50,
    what: "a table at the end of a chain of a packed ring",
    only: "packed",
    reason: /an indirect descriptor inside a chain/,
    spoil: (raw) => raw.chain({ flags: NEXT }, raw.table({})),
  },
  {
    item: 50,
    what: "a table in no memory",
    reason: /an indirect table at GPA 0x777777770000 is not in guest memory/,
    spoil: (raw) => raw.chain({ ...raw.table({}), gpa: 0x7777_7777_0000n }),
  },
  {
    item: 50,
    what: "a table at the top of the address space",
    reason: /an indirect table at GPA 0xfffffffffffffff0 is not in guest memory/,
    spoil: (raw) => raw.chain({ ...raw.table({}, {}), gpa: (1n << 64n) - 16n }),
  },
  {
    item: 50,
    what: "a table that runs over the end of memory",
    reason: /an indirect table at GPA 0x[0-9a-f]+ is not in guest memory/,
    spoil: (raw, hit) => {
      const { guest } = hit;
      const region = guest.regions[2]!;
      const memory = region.at(region.memory.size - 16, 16);
      raw.tableAt(memory, { flags: NEXT, last: 1 });
      raw.chain({ gpa: memory.gpa, length: 32, flags: INDIRECT });
    },
  },
  {
    item: 50,
    what: "a table although the feature was not negotiated",
    reason: /INDIRECT_DESC was not negotiated/,
    options: { indirect: false },
    spoil: (raw) => raw.chain(raw.table({})),
  },
  ...(
    [
      ["of length 0", /a descriptor has length 0/, () => ({ length: 0 })],
      ["in no memory", /at GPA 0x777777770000 is not in guest memory/, () => ({ gpa: 0x7777_7777_0000n })],
      [
        "that wraps around",
        /a buffer of 64 bytes at GPA 0xffffffffffffffe0 is not/,
        () => ({ gpa: (1n << 64n) - 32n }),
      ],
      ["at 2^53", /at GPA 0x20000000000000 is not in guest memory/, () => ({ gpa: 1n << 53n })],
      [
        "over the end of memory",
        /a buffer of 2 bytes at GPA 0x[0-9a-f]+fff is not/,
        (hit: Victim) => ({ gpa: last(hit) - 1n, length: 2 }),
      ],
      [
        "behind the end of memory",
        /is not in guest memory/,
        (hit: Victim) => ({ gpa: last(hit), length: 1 }),
      ],
      [
        "of 4 GiB - 1",
        /a buffer of 4294967295 bytes at GPA 0x[0-9a-f]+ is not/,
        () => ({ length: 0xffff_ffff }),
      ],
    ] as const
  ).flatMap(([what, reason, make]): Case[] => [
    { item: 51, what: `a buffer ${what}`, reason, spoil: (raw, hit) => raw.chain(make(hit)) },
    {
      item: 51,
      what: `the second buffer of a table ${what}`,
      reason,
      spoil: (raw, hit) => raw.chain(raw.table({ flags: NEXT, last: 1 }, make(hit))),
    },
  ]),
  {
    item: 51,
    what: "a device-readable buffer after a device-writable one",
    reason: /a device-readable descriptor follows a device-writable one/,
    spoil: (raw) => raw.chain({ flags: NEXT | WRITE, last: 1 }, {}),
  },
  ...[RING_SIZE + 1, 1000, 32768, 65535].map(
    (jump): Case => ({
      item: 52,
      what: `the available index jumps by ${jump}`,
      only: "split",
      reason: new RegExp(`the available index went from 37 to ${(37 + jump) & 0xffff} with 0 entries in use`),
      spoil: (raw) => {
        raw.queue.ring.avail.u16[1] = raw.base + jump;
        raw.queue.signal();
      },
    }),
  ),
  {
    item: 52,
    what: "a head that is available twice",
    only: "split",
    reason: /head 0 is available again while it is in use/,
    spoil: (raw) => {
      // The first of a chain that the device can not finish yet would do too; here both come at once.
      raw.describe(0, {});
      raw.offer(0, 0);
      raw.queue.signal();
    },
  },
];
