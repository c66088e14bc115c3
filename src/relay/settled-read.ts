import type { GuestMemory } from "../memory/guest-memory.ts";

/** Copies that are made before what they show counts as changing too fast. */
const TRIES = 16;

/**
 * Copies a ring as it stood at one moment, while its driver and its device go on writing. A single copy shows what was
 * written early where it was read late: a place that seems not used yet, and a used one behind it. Two copies that are
 * alike do not, as neither side takes back what it wrote.
 * @returns undefined where no two copies were alike
 */
export function readSettled(memory: GuestMemory, gpa: bigint, length: number): Uint8Array | undefined {
  let last = memory.read(gpa, length);
  for (let i = 1; i < TRIES; i++) {
    const next = memory.read(gpa, length);
    if (Buffer.compare(last, next) === 0) return next;
    last = next;
  }
  return undefined;
}
