import { expect } from "bun:test";
import { settle } from "../fuzz/support/settle.ts";
import { watchMemory } from "../fuzz/support/watch-guest.ts";
import { writeFrame } from "../support/front-end/frame.ts";
import type { Guest } from "../support/front-end/guest.ts";
import type { RegionPlan } from "../support/front-end/guest-memory.ts";
import { PageLog } from "../support/front-end/page-log.ts";
import { startRing } from "../support/front-end/sequences.ts";
import { type Flip, Flipper } from "./support/flipper.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { INDIRECT, NEXT, RawRing, WRITE } from "./support/raw-ring.ts";
import { passFrames } from "./support/well-behaved.ts";

const stage = new HostileStage({ args: ["--datapath", "relay"] });
const SIZE = 16;
const SINK = (SIZE / 2) * 8192;
const BYTES = 1 << 20;
const MEMORY: readonly RegionPlan[] = [0n, BigInt(BYTES), 0x1_0000_0000n].map((gpa, i) => ({
  gpa,
  uva: 0x7f10_0000_0000n + BigInt(i) * 0x1_0000_0000n,
  size: BYTES,
  file: `part${i}`,
}));

/** Where the fields of a descriptor lie, from its first byte on. */
const fieldsOf = (packed: boolean) => ({
  low: 0n,
  high: 4n,
  length: 8n,
  flags: packed ? 14n : 12n,
  last: packed ? 12n : 14n,
});

interface Scene {
  readonly raw: RawRing;
  readonly packed: boolean;
  /** Two buffers of a page for each entry, which the device may fill, and the flags of one that it gets. */
  readonly buffers: readonly (readonly [bigint, bigint])[];
  readonly flags: number;
}

/** What the guest writes into all of its entries, and what it changes while they are read. */
interface Race {
  readonly what: string;
  readonly indirect?: boolean;
  /** How often it is run (8 times). */
  readonly rounds?: number;
  flips(scene: Scene, descriptor: bigint, entry: number): Flip[];
}

const low = (gpa: bigint) => Number(gpa & 0xffff_ffffn);
const RACES: readonly Race[] = [
  {
    what: "the address, between two buffers and what is no memory",
    flips: ({ buffers }, at, i) => [
      { gpa: at, bytes: 4, values: buffers[i]!.map(low) },
      { gpa: at + 4n, bytes: 4, values: [0, 0, 0, 0x7777] },
    ],
  },
  {
    what: "the address, between two buffers",
    // A field that is read twice shows in a page that is not logged, if it changes just in between.
    rounds: 40,
    flips: ({ buffers }, at, i) => [{ gpa: at, bytes: 4, values: buffers[i]!.map(low) }],
  },
  {
    what: "the length, between good, none and too much",
    flips: (_, at) => [{ gpa: at + 8n, bytes: 4, values: [1600, 1600, 0, 0xffff_ffff, 12] }],
  },
  {
    what: "the flags and the next descriptor or id",
    flips: ({ packed, flags }, at) => {
      const field = fieldsOf(packed);
      // A packed descriptor stays available, in the first lap of its ring.
      const avail = packed ? 0x80 : 0;
      return [
        { gpa: at + field.flags, bytes: 2, values: [flags | avail, flags | NEXT | avail, flags | avail] },
        { gpa: at + field.last, bytes: 2, values: [0, 1, 5, SIZE, 0xffff] },
      ];
    },
  },
  {
    what: "the entries of an indirect table, and its length",
    indirect: true,
    flips: ({ raw, buffers, flags, packed }, at) => {
      const table = raw.scratch.gpa;
      const field = fieldsOf(packed);
      return [
        { gpa: at + 8n, bytes: 4, values: [32, 16, 24, 32] },
        ...[0n, 16n].flatMap((entry): Flip[] => [
          { gpa: table + entry, bytes: 4, values: buffers[0]!.map(low) },
          { gpa: table + entry + 8n, bytes: 4, values: [1600, 800, 1600, 0xffff_ffff] },
          { gpa: table + entry + field.flags, bytes: 2, values: [flags, flags | NEXT, flags, INDIRECT] },
          { gpa: table + entry + field.last, bytes: 2, values: [1, 1, 2, 0] },
        ]),
      ];
    },
  },
];

for (const packed of [false, true]) {
  for (const queue of [2, 3]) {
    for (const race of RACES) {
      const side = queue === 2 ? "receive" : "transmit";
      stage.item(
        53,
        `${packed ? "packed" : "split"} ${side}: the guest changes ${race.what} all the time`,
        async () => {
          const guest = await stage.guest({
            pairs: 2,
            packed,
            ringSize: SIZE,
            indirect: true,
            memory: MEMORY,
          });
          const log = new PageLog();
          const raw = new RawRing(guest.machine.queues[queue]!, packed, guest.regions[0]!);
          const sink = guest.regions[1]!.at(BYTES - SINK, SINK);
          const scene: Scene = {
            raw,
            packed,
            buffers: Array.from({ length: SIZE / 2 }, (_, i) => {
              const gpa = sink.gpa + BigInt(8192 * i);
              return [gpa, gpa + 4096n] as const;
            }),
            flags: queue === 2 ? WRITE : 0,
          };
          const { desc } = raw.queue.ring;
          const flips = Array.from({ length: SIZE / 2 }, (_, i) =>
            race.flips(scene, desc.gpa + BigInt(16 * i), i),
          ).flat();
          await guest.setLogging(log);
          let flipper: Flipper | undefined;
          try {
            await passFrames(guest, { frames: 20 });
            flipper = await Flipper.start(guest.regions, flips);
            for (let round = 0; round < (race.rounds ?? 8); round++)
              await oneRound(guest, scene, race, flips, log, round);
            expect(flipper.laps).toBeGreaterThan(100);
          } finally {
            await flipper?.stop();
            guest.fe.close();
            log.close();
          }
        },
      );
    }
  }
}

async function oneRound(
  guest: Guest,
  { raw, packed, buffers, flags }: Scene,
  race: Race,
  flips: readonly Flip[],
  log: PageLog,
  round: number,
): Promise<void> {
  const { daemon } = stage;
  const pair = guest.pairs[1]!;
  for (const queue of pair.queues) {
    await guest.fe.getVringBase(queue.index);
    queue.reset();
    await startRing(guest.fe, queue);
    const { desc, avail, used } = queue.ring;
    const addresses = { descUva: desc.uva, availUva: avail.uva, usedUva: used.uva, logGpa: used.gpa };
    await guest.fe.setVringAddr(queue.index, { ...addresses, flags: 1 });
  }
  await guest.fe.barrier();
  const mark = daemon.log.length;
  log.clear();

  if (raw.queue === pair.tx) pair.refill();
  else {
    for (let i = 0; i < SIZE / 2; i++) pair.transmit(writeFrame(Buffer.alloc(1600), 1, i, 60 + 150 * i));
    pair.tx.ring.publish();
  }
  const watch = watchMemory(guest, packed);
  for (const gpa of buffers.flat()) watch.offer({ gpa, bytes: 4096 });
  for (const { gpa, bytes } of flips) watch.ignore({ gpa, bytes });
  // The entries themselves are the driver's too.
  watch.ignore({ gpa: raw.queue.ring.desc.gpa, bytes: 8 * SIZE });
  const entry = race.indirect
    ? raw.table(
        { gpa: buffers[0]![0], length: 800, flags: flags | NEXT, last: 1 },
        { gpa: buffers[0]![1], length: 800, flags },
      )
    : { length: 1600, flags };
  watch.ignore({ gpa: raw.scratch.gpa, bytes: 32 });
  for (let i = 0; i < SIZE / 2; i++) {
    const own = { gpa: buffers[i]![0], ...entry, last: packed ? i : 0 };
    if (packed) raw.packedEntry(i, own);
    else raw.describe(i, own);
  }
  watch.ignore({ gpa: raw.queue.ring.avail.gpa, bytes: 4 + 2 * SIZE });
  if (!packed) raw.offer(...Array.from({ length: SIZE / 2 }, (_, i) => i));
  for (const queue of pair.queues) queue.signal();

  const stopped = () => daemon.log.slice(mark).some((line) => /needs a reset/.test(line));
  await settle(guest, false, stopped);
  for (const { index } of pair.queues) {
    const base = await guest.fe.getVringBase(index);
    expect(packed ? base & 0x7fff : base).toBeLessThan(SIZE);
  }
  // A split ring's table, and any indirect one, is read by the device itself, perhaps another time, so that it may find a
  // longer buffer. The descriptors of a packed ring are copied: what was checked is what the device gets, and what it
  // wrote there is logged.
  const exact = packed && !race.indirect;
  const known = exact
    ? /stops after a fault of the guest's in its ring|sim needs a reset/
    : /stops after a fault of the guest's in its ring|sim needs a reset|reports more bytes than a buffer has/;
  expect(daemon.complaints(mark).filter((line) => !known.test(line))).toEqual([]);
  expect(watch.problems((page) => !exact || log.has(page))).toEqual([]);
  if (!stopped()) return;
  await guest.stop();
  await guest.start();
  await passFrames(guest, { frames: 20, pairs: [0], from: 100_000 + 1000 * round });
}
