import { expect } from "bun:test";
import { writeFrame } from "../support/front-end/frame.ts";
import type { Guest } from "../support/front-end/guest.ts";
import type { RegionPlan } from "../support/front-end/guest-memory.ts";
import { NET_HEADER } from "../support/front-end/packet-buffer.ts";
import { eventually } from "../support/front-end/wait.ts";
import { ONCE_MS } from "./support/daemon.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { INDIRECT, NEXT, type RawRing } from "./support/raw-ring.ts";
import { complaints, RING_SIZE, restartSecondPair, victim } from "./support/ring-fault.ts";
import { passFrames } from "./support/well-behaved.ts";

const stage = new HostileStage({ args: ["--datapath", "relay"] });

const BYTES = 2 << 20;
/** Three regions without a gap between them in the guest, but apart in everything else. */
const ADJACENT: readonly RegionPlan[] = [0, 1, 2].map((i) => ({
  gpa: BigInt(i * BYTES),
  uva: 0x7f10_0000_0000n + BigInt(i) * 0x1_0000_0000n,
  size: BYTES,
  file: `part${i}`,
}));

/** Puts bytes at a guest address, whatever regions they lie in. */
function poke(guest: Guest, gpa: bigint, bytes: Uint8Array): void {
  for (const [i, byte] of bytes.entries()) {
    const at = Number(gpa) + i;
    guest.regions[Math.floor(at / BYTES)]!.at(at % BYTES, 1).u8[0] = byte;
  }
}

function descriptor(packed: boolean, gpa: bigint, length: number, flags: number, last: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, gpa, true);
  view.setUint32(8, length, true);
  view.setUint16(12, packed ? last : flags, true);
  view.setUint16(14, packed ? flags : last, true);
  return new Uint8Array(view.buffer);
}

/** Waits until the loopback has brought back this frame on the second pair. */
async function returned(guest: Guest, frame: Buffer): Promise<void> {
  const seen: Buffer[] = [];
  await eventually(
    () => guest.pairs[1]!.receive((got) => seen.push(Buffer.from(got))) > 0,
    ONCE_MS,
    "the frame back",
  );
  expect(seen).toEqual([frame]);
}

const used = (raw: RawRing) => raw.queue.ring.used.u16[1]!;

for (const packed of [false, true]) {
  const layout = packed ? "packed" : "split";
  // The last bytes of the first region and the first of the second; nothing else is there.
  const border = BigInt(BYTES);

  for (const before of [1, 8, 16, 24]) {
    stage.item(
      50,
      `${layout}: a table that crosses regions ${before} bytes in is one to the device`,
      async () => {
        const { guest, raw } = await victim(stage, { packed, memory: ADJACENT });
        const frame = writeFrame(Buffer.alloc(200), 1, 1000, 100);
        const { u8, gpa } = raw.buffer;
        u8.fill(0, 0, NET_HEADER);
        u8.set(frame, NET_HEADER);
        const at = border - BigInt(before);
        poke(guest, at, descriptor(packed, gpa, NET_HEADER + 10, NEXT, packed ? 0 : 1));
        poke(guest, at + 16n, descriptor(packed, gpa + BigInt(NET_HEADER + 10), 90, 0, 0));
        const mark = stage.daemon.log.length;
        raw.chain({ gpa: at, length: 32, flags: INDIRECT });
        await returned(guest, frame);
        expect(complaints(stage, mark)).toEqual([]);
        await restartSecondPair(guest);
      },
    );
  }

  stage.item(51, `${layout}: a buffer that crosses regions is one to the device`, async () => {
    const { guest, raw } = await victim(stage, { packed, memory: ADJACENT });
    const frame = writeFrame(Buffer.alloc(1500), 1, 1000, 1400);
    const at = border - 700n;
    poke(guest, at, new Uint8Array(NET_HEADER));
    poke(guest, at + BigInt(NET_HEADER), frame);
    const mark = stage.daemon.log.length;
    raw.chain({ gpa: at, length: NET_HEADER + frame.length });
    await returned(guest, frame);
    expect(complaints(stage, mark)).toEqual([]);
    await restartSecondPair(guest);
  });

  stage.item(50, `${layout}: a table longer than the ring, which only the device refuses`, async () => {
    const { guest, raw } = await victim(stage, { packed });
    const mark = stage.daemon.log.length;
    const next = (i: number) => ({ flags: i < RING_SIZE ? NEXT : 0, last: packed ? 0 : i + 1 });
    raw.chain(raw.table(...Array.from({ length: RING_SIZE + 1 }, (_, i) => next(i))));
    await stage.daemon.logged(/sim needs a reset: it met an error it can not recover from/, mark);
    expect(complaints(stage, mark)).toHaveLength(1);
    // Its position is that of the chain that the device did not finish.
    expect(await guest.fe.getVringBase(3)).toBe(raw.base);
    await guest.stop();
    await guest.start();
    await passFrames(guest, { frames: 100, from: 20_000 });
  });

  stage.item(52, `${layout}: entries that the device holds are made available again`, async () => {
    const { guest, raw } = await victim(stage, { packed, queue: 2 });
    const mark = stage.daemon.log.length;
    if (packed) {
      // The ring is full of receive buffers, so that each of these belongs to one that the device holds.
      for (let i = 0; i < 2 * RING_SIZE; i++) raw.packedEntry(i, {});
      raw.queue.signal();
      await guest.fe.barrier();
      expect(complaints(stage, mark)).toEqual([]);
    } else {
      raw.offer(raw.queue.ring.avail.u16[2 + ((raw.base - 1) & (RING_SIZE - 1))]!);
      raw.queue.signal();
      await stage.daemon.logged(
        /queue 2 stops after a fault of the guest's in its ring: head \d+ is available again while it is in use/,
        mark,
      );
    }
    await passFrames(guest, { frames: 100, pairs: [0], from: 10_000 });
    await restartSecondPair(guest);
  });
}

for (const back of [1, 2, RING_SIZE, 30_000]) {
  stage.item(52, `split: the available index of a full receive ring goes ${back} back`, async () => {
    const { guest, raw } = await victim(stage, { queue: 2 });
    const mark = stage.daemon.log.length;
    const before = used(raw);
    raw.queue.ring.avail.u16[1] = raw.base - back;
    raw.queue.signal();
    await stage.daemon.logged(
      /queue 2 stops after a fault of the guest's in its ring: the available index/,
      mark,
    );
    expect(complaints(stage, mark)).toHaveLength(1);
    await passFrames(guest, { frames: 100, pairs: [0], from: 10_000 });
    expect(await guest.fe.getVringBase(2)).toBe(before);
    await restartSecondPair(guest);
  });
}

for (const [base, idx] of [
  [100, 0],
  [0, RING_SIZE + 1],
  [65_535, RING_SIZE],
  [40_000, 7000],
] as const) {
  stage.item(35, `a base of ${base} with an available index of ${idx}`, async () => {
    const guest = await stage.idleGuest({ pairs: 2, ringSize: RING_SIZE });
    guest.pairs[1]!.tx.ring.avail.u16[1] = idx;
    guest.machine.bases = [0, 0, 0, base];
    const mark = stage.daemon.log.length;
    await guest.start();
    await stage.daemon.logged(
      new RegExp(
        `queue 3 stops after a fault .* the available index went from ${base} to ${idx} with 0 entries`,
      ),
      mark,
    );
    expect(complaints(stage, mark)).toHaveLength(1);
    await passFrames(guest, { frames: 100, pairs: [0], from: 10_000 });
    expect(await guest.fe.getVringBase(3)).toBe(base);
  });
}
for (const base of [RING_SIZE | 0x8000, 0x7fff, 0xffff_ffff, 0x8001_8000, 0x8000_0001, 0x8020_0021]) {
  stage.item(35, `a packed base of 0x${base.toString(16)} in a ring of ${RING_SIZE}`, () =>
    stage.fails(/is beyond a packed ring of 64 entries|are more than 64 entries apart/, async () => {
      const guest = await stage.idleGuest({ packed: true, ringSize: RING_SIZE });
      guest.machine.bases = [0x8000, base];
      try {
        await guest.start();
      } finally {
        guest.close();
      }
    }),
  );
}
