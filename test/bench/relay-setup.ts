import type { DmaBuffer } from "../../src/hw/dma-buffer.ts";
import { relayBytes } from "../../src/relay/device-memory.ts";
import type { GuestRing } from "../../src/relay/relay.ts";
import { DESC_WRITE } from "../../src/relay/ring-format.ts";
import { FIRST_GPA, PAGE, Stage } from "../unit/relay/stage.ts";

/** The same for every contender: entries of the ring, entries per call, and laps of the ring per run. */
export const SIZE = 256;
export const BATCH = 32;
export const LAPS = 8000;
export const BUFFER_BYTES = 1536;

/** Nanoseconds per element, of the median lap: on a busy machine some laps are interrupted. */
export interface Timing {
  readonly forward: number;
  readonly complete: number;
}

/** Two buffers of 1536 bytes per page. */
export const bufferGpa = (i: number) => FIRST_GPA + (32 + (i >> 1)) * PAGE + (i % 2) * 2048;

export const ring: GuestRing = {
  size: SIZE,
  descGpa: BigInt(FIRST_GPA),
  driverGpa: BigInt(FIRST_GPA + 4 * PAGE),
  deviceGpa: BigInt(FIRST_GPA + 8 * PAGE),
  eventIdx: true,
  indirect: true,
  inOrder: false,
};

/** Guest memory with a ring of which every descriptor is one writable buffer. */
export function stageFor(packed: boolean): { stage: Stage; buffer: DmaBuffer } {
  const stage = new Stage(64 + SIZE);
  for (let i = 0; i < SIZE; i++) {
    const at = FIRST_GPA + 16 * i;
    stage.put(at, 4, bufferGpa(i));
    stage.put(at + 8, 4, BUFFER_BYTES);
    stage.put(at + 12, 2, packed ? i : DESC_WRITE);
    stage.put(at + 14, 2, packed ? DESC_WRITE : 0);
    if (!packed) stage.put(Number(ring.driverGpa) + 4 + 2 * i, 2, i);
  }
  return { stage, buffer: stage.buffer(relayBytes(packed, SIZE)) };
}

/** Words of guest memory from `gpa` on. */
export function guestViews(stage: Stage, gpa: bigint) {
  const { memory, offset } = stage.memory.locate(gpa, PAGE);
  const { buffer } = memory.window(offset).u8;
  return { u16: new Uint16Array(buffer, offset), u32: new Uint32Array(buffer, offset) };
}

export const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

/** Of laps given in nanoseconds, which are sorted. */
export const perElement = (laps: Float64Array) => laps.sort()[laps.length >> 1]! / SIZE;
