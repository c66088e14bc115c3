import { DmaBuffer } from "../hw/dma-buffer.ts";
import { closeFd, memfd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import { DirtyLog } from "../memory/dirty-log.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { relayBytes } from "./device-memory.ts";
import { PackedRelay } from "./packed-relay.ts";
import type { RingRelay } from "./relay.ts";
import { availFlags, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, usedFlags } from "./ring-format.ts";
import { SplitRelay } from "./split-relay.ts";

const SIZE = 64;
const BATCH = 16;
const PAGE = 4096;
/** Enough for the JIT to have compiled the loops. */
const LAPS = 120;
/** Descriptors at 0, driver's part at 4096, device's part at 8192, an indirect table at 12288 of a guest of four pages. */
const GUEST_PAGES = 4;
const TABLE = 3 * PAGE;

/** What the chains of a lap look like: most of them are plain, and the others are to find their code warm too. */
type Shape = "plain" | "pair" | "indirect";
const shapeOf = (lap: number): Shape => (lap % 8 === 3 ? "pair" : lap % 8 === 6 ? "indirect" : "plain");

const nowhere: DmaSpace = {
  pageSize: PAGE,
  usable: [{ first: 0n, last: 2n ** 48n - 1n }],
  map: () => {},
  unmap: () => {},
};

/**
 * Runs a relay of each kind on a ring that nobody else sees, so that the first batch of a real one does not find the
 * code cold (which costs it most of a millisecond). Call it in the thread that will relay.
 */
export function warmUpRelays(log: Log): void {
  const memory = new GuestMemory(nowhere, { log });
  const fd = memfd("vdpactl-warm-up", (GUEST_PAGES + 1) * PAGE);
  let dirty: DirtyLog | undefined;
  let buffer: DmaBuffer | undefined;
  try {
    const size = BigInt(GUEST_PAGES * PAGE);
    memory.replaceAll([{ description: { gpa: 0n, size, uva: 0n, mmapOffset: 0n }, fd }]);
    dirty = DirtyLog.map(fd, BigInt(PAGE), size);
    buffer = DmaBuffer.create(nowhere, 0n, PAGE, "vdpactl-warm-up");
    warmSplit(memory, buffer, dirty);
    warmPacked(memory, buffer, dirty);
  } finally {
    buffer?.close();
    dirty?.close();
    memory.clear();
    closeFd(fd);
  }
}

const ring = {
  size: SIZE,
  descGpa: 0n,
  driverGpa: BigInt(PAGE),
  deviceGpa: 2n * BigInt(PAGE),
  eventIdx: true,
  indirect: true,
  inOrder: false,
};

function warmSplit(memory: GuestMemory, buffer: DmaBuffer, log: DirtyLog): void {
  const relay = new SplitRelay({ ring, memory, buffer, offset: 0 });
  relay.start({ availPosition: 0, availWrap: 0, usedPosition: 0, usedWrap: 0 });
  relay.setLogging({ log, data: true, usedRingGpa: ring.deviceGpa });
  const { u16, u32 } = memory.locate(0n, PAGE).memory.window(0);
  const { buffer: ours } = buffer.memory.window(0).u8;
  const usedAt = Number(relay.deviceQueue.device - buffer.iova);
  const usedElements = new Uint32Array(ours, usedAt);
  const used = new Uint16Array(ours, usedAt);
  u32.set([PAGE, 0, 64, DESC_WRITE], TABLE / 4);
  let index = 0;
  for (let lap = 1; lap <= LAPS; lap++) {
    const shape = shapeOf(lap);
    const step = shape === "pair" ? 2 : 1;
    for (let i = 0; i < SIZE; i++) {
      const last = shape === "plain" ? DESC_WRITE : shape === "indirect" ? DESC_INDIRECT : 0;
      const flags = shape === "pair" ? (i % 2 === 0 ? DESC_NEXT | ((i + 1) << 16) : DESC_WRITE) : last;
      putBuffer(u32, 4 * i, i, shape);
      u32[4 * i + 3] = flags;
    }
    for (let head = 0; head < SIZE; head += step) {
      u16[PAGE / 2 + 2 + (index % SIZE)] = head;
      usedElements[1 + 2 * (index % SIZE)] = head;
      index = (index + 1) & 0xffff;
      if (index % BATCH !== 0) continue;
      u16[PAGE / 2 + 1] = index;
      forward(relay);
      used[1] = index;
      complete(relay, log);
    }
  }
}

function warmPacked(memory: GuestMemory, buffer: DmaBuffer, log: DirtyLog): void {
  if (relayBytes(true, SIZE) > buffer.memory.size) throw new RangeError("buffer too small to warm up");
  const relay = new PackedRelay({ ring, memory, buffer, offset: 0 });
  relay.start({ availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 });
  relay.setLogging({ log, data: true, usedRingGpa: undefined });
  const { u16, u32 } = memory.locate(0n, PAGE).memory.window(0);
  const desc = new Uint16Array(
    buffer.memory.window(0).u8.buffer,
    Number(relay.deviceQueue.desc - buffer.iova),
  );
  u32.set([PAGE, 0, 64, DESC_WRITE << 16], TABLE / 4);
  for (let lap = 1; lap <= LAPS; lap++) {
    const shape = shapeOf(lap);
    const step = shape === "pair" ? 2 : 1;
    const wrap = lap % 2;
    for (let from = 0; from < SIZE; from += BATCH) {
      for (let i = from; i < from + BATCH; i++) {
        putBuffer(u32, 4 * i, i, shape);
        u16[8 * i + 6] = i;
        const last = shape === "indirect" ? DESC_INDIRECT : DESC_WRITE;
        u16[8 * i + 7] = availFlags(wrap) | (shape === "pair" && i % 2 === 0 ? DESC_NEXT : last);
      }
      forward(relay);
      for (let i = from; i < from + BATCH; i += step) desc[8 * i + 7] = DESC_WRITE | usedFlags(wrap);
      complete(relay, log);
    }
  }
}

/** Address and length of a buffer, every fourth of them in two pages, or of the indirect table. */
function putBuffer(u32: Uint32Array, at: number, i: number, shape: Shape): void {
  u32[at] = shape === "indirect" ? TABLE : i % 4 === 0 ? 2 * PAGE - 32 : PAGE;
  u32[at + 1] = 0;
  u32[at + 2] = shape === "indirect" ? 16 : 64;
}

function forward(relay: RingRelay): void {
  relay.forward();
  relay.kickWanted();
  relay.setGuestKicks(true);
}

/** Into a log without marks, as a front-end's is after each look. */
function complete(relay: RingRelay, log: DirtyLog): void {
  log.words.fill(0);
  relay.complete();
  relay.callWanted();
  relay.setDeviceCalls(true);
  if (relay.fault) throw relay.fault;
}
