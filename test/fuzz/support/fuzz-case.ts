import { expect } from "bun:test";
import type { Daemon } from "../../e2e/support/daemon.ts";
import { passFrames } from "../../e2e/support/well-behaved.ts";
import { writeFrame } from "../../support/front-end/frame.ts";
import { connectGuest, type Guest } from "../../support/front-end/guest.ts";
import type { RegionPlan } from "../../support/front-end/guest-memory.ts";
import type { NetPair, NetQueue } from "../../support/front-end/net-pair.ts";
import { PageLog } from "../../support/front-end/page-log.ts";
import { startRing } from "../../support/front-end/sequences.ts";
import { eventually } from "../../support/front-end/wait.ts";
import { mutateContent, mutateVisibility, type Target } from "./mutations.ts";
import { Random } from "./random.ts";
import { settle } from "./settle.ts";
import { watchMemory } from "./watch-guest.ts";

const BYTES = 1 << 20;
const SINK = 1 << 16;
const PATIENCE_MS = 20_000;

/** Two regions without a gap, so that buffers may cross from one to the other, and one apart. */
const MEMORY: readonly RegionPlan[] = [0n, BigInt(BYTES), 0x1_0000_0000n].map((gpa, i) => ({
  gpa,
  uva: 0x7f10_0000_0000n + BigInt(i) * 0x1_0000_0000n,
  size: BYTES,
  file: `part${i}`,
}));

/** How a case ended: nothing was wrong, rings were stopped, or the device stopped. */
export type Verdict = "served" | "ring stopped" | "device stopped" | "harmed itself";

/** One guest that behaves, then writes into the rings of its second pair what the seed says. */
export async function runCase(daemon: Daemon, seed: number): Promise<Verdict> {
  const random = new Random(seed);
  const packed = random.oneIn(2);
  const log = new PageLog();
  const guest = await connectGuest({
    socketPath: daemon.socketPath,
    pairs: 2,
    packed,
    indirect: !random.oneIn(8),
    eventIdx: random.oneIn(2),
    ringSize: packed ? random.pick([7, 16, 33, 64]) : random.pick([8, 16, 64]),
    memory: MEMORY,
    sealable: !random.oneIn(8),
  });
  try {
    return await misbehave(daemon, guest, log, random, packed);
  } finally {
    guest.close();
    log.close();
  }
}

async function misbehave(
  daemon: Daemon,
  guest: Guest,
  log: PageLog,
  random: Random,
  packed: boolean,
): Promise<Verdict> {
  await guest.setLogging(log);
  await passFrames(guest, { frames: 5 + random.below(20) });
  const bad = guest.pairs[1]!;
  const queues: NetQueue[] = [bad.tx];
  await reclaimed(bad);
  // Descriptors that the device holds are no longer the driver's to change, so new ones need an empty ring.
  if (random.oneIn(2)) queues.push(await emptied(guest, bad.rx));
  await guest.fe.barrier();
  await guest.fe.barrier();
  const mark = daemon.log.length;
  log.clear();

  addEntries(bad, random);
  const sink = guest.regions[1]!.at(BYTES - SINK, SINK);
  const targets = queues.map((queue): Target => {
    const tables = queue.buffers.flatMap(({ chain }) => (chain.table ? [chain.table] : []));
    return { queue, packed, tables, sink, end: BigInt(2 * BYTES) };
  });
  for (const target of targets) mutateContent(random, target);
  for (const { queue } of targets) queue.ring.publish();
  for (const target of targets) mutateVisibility(random, target);
  const watch = watchMemory(guest, packed);
  for (const queue of bad.queues) queue.signal();

  const stopped = () => daemon.log.slice(mark).some((line) => /needs a reset/.test(line));
  await settle(guest, watch.harmsItself, stopped);
  for (const { index, ring } of guest.machine.queues) {
    const base = await guest.fe.getVringBase(index);
    expect(packed ? base & 0x7fff : base).toBeLessThan(packed ? ring.size : 65_536);
  }

  const complaints = daemon.complaints(mark);
  const expected = /stops after a fault of the guest's in its ring|sim needs a reset/;
  expect(complaints.filter((line) => !expected.test(line))).toEqual([]);
  if (!watch.harmsItself) expect(watch.problems((page) => log.has(page))).toEqual([]);
  await guest.stop();
  if (random.oneIn(4)) {
    await guest.start();
    await passFrames(guest, { frames: 50, from: 50_000 });
  }
  if (watch.harmsItself) return "harmed itself";
  if (stopped()) return "device stopped";
  return complaints.length > 0 ? "ring stopped" : "served";
}

async function reclaimed(pair: NetPair): Promise<void> {
  const all = () => {
    pair.reclaim();
    return pair.tx.idle.length === pair.tx.buffers.length;
  };
  await eventually(all, PATIENCE_MS, "transmitted buffers back");
}

/** Starts a ring afresh, with nothing in it. */
async function emptied(guest: Guest, queue: NetQueue): Promise<NetQueue> {
  await guest.fe.getVringBase(queue.index);
  queue.reset();
  await startRing(guest.fe, queue);
  // That ended the logging of its used ring, as a start with new addresses does.
  const { desc, avail, used } = queue.ring;
  const addresses = { descUva: desc.uva, availUva: avail.uva, usedUva: used.uva, logGpa: used.gpa };
  await guest.fe.setVringAddr(queue.index, { ...addresses, flags: 1 });
  return queue;
}

/** Puts valid entries into the rings, as far as there is room, and publishes none. */
function addEntries(pair: NetPair, random: Random): void {
  const frame = Buffer.alloc(1600);
  for (let i = random.below(12) + 1; i > 0; i--) {
    if (!pair.transmit(writeFrame(frame, pair.index, 1000 + i, 60 + random.below(1400)))) break;
  }
  const { idle, ring } = pair.rx;
  for (let i = random.below(ring.size); i > 0 && idle.length > 0; i--) {
    const buffer = idle.at(-1)!;
    buffer.offer();
    if (!ring.fits(buffer.chain)) break;
    idle.pop();
    ring.add(buffer.chain, buffer);
  }
}
