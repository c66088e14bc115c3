import { DmaBuffer } from "../hw/dma-buffer.ts";
import { closeFd, memfd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import { DirtyLog } from "../memory/dirty-log.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { relayBytes } from "./device-memory.ts";
import { PackedRelay } from "./packed-relay.ts";
import { DESC_WRITE } from "./ring-format.ts";
import { SplitRelay } from "./split-relay.ts";

const SIZE = 64;
const PAGE = 4096;
/** Enough for the JIT to have compiled the loops. */
const LAPS = 300;

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
  const fd = memfd("vdpactl-warm-up", 4 * PAGE);
  let dirty: DirtyLog | undefined;
  let buffer: DmaBuffer | undefined;
  try {
    memory.replaceAll([{ description: { gpa: 0n, size: 4n * BigInt(PAGE), uva: 0n, mmapOffset: 0n }, fd }]);
    dirty = DirtyLog.map(fd, BigInt(PAGE), 3n * BigInt(PAGE));
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

/** Descriptors at 0, driver's part at 4096, device's part at 8192 of a guest of three pages. */
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
  for (let i = 0; i < SIZE; i++) {
    u32.set([PAGE, 0, 64, DESC_WRITE], 4 * i);
    u16[PAGE / 2 + 2 + i] = i;
    usedElements[1 + 2 * i] = i;
  }
  for (let lap = 1; lap <= LAPS; lap++) {
    u16[PAGE / 2 + 1] = lap * SIZE;
    relay.forward();
    relay.kickWanted();
    used[1] = lap * SIZE;
    relay.complete();
    relay.callWanted();
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
  for (let lap = 1; lap <= LAPS; lap++) {
    const odd = lap % 2 === 1;
    for (let i = 0; i < SIZE; i++) {
      u32[4 * i] = PAGE;
      u32[4 * i + 2] = 64;
      u16[8 * i + 6] = i;
      u16[8 * i + 7] = DESC_WRITE | (odd ? 0x80 : 0x8000);
    }
    relay.forward();
    relay.kickWanted();
    for (let i = 0; i < SIZE; i++) desc[8 * i + 7] = DESC_WRITE | (odd ? 0x8080 : 0);
    relay.complete();
    relay.callWanted();
  }
}
