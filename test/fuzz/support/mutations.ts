import type { GuestBuffer } from "../../support/front-end/guest-memory.ts";
import type { NetQueue } from "../../support/front-end/net-pair.ts";
import type { Random } from "./random.ts";

/** What a mutation works on: a ring with valid new entries that are not published, and its tables. */
export interface Target {
  readonly queue: NetQueue;
  readonly packed: boolean;
  /** Indirect tables of the ring's buffers. */
  readonly tables: readonly GuestBuffer[];
  /** Guest memory that nothing else uses. */
  readonly sink: GuestBuffer;
  /** First address behind the memory, and any ring of the guest's. */
  readonly end: bigint;
}

const LENGTHS = [
  0,
  1,
  11,
  12,
  13,
  16,
  17,
  64,
  600,
  1500,
  2048,
  4096,
  16_400,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 16,
  2 ** 32 - 1,
];
const FLAGS = [0, 1, 2, 3, 4, 5, 6, 7, 0x80, 0x8000, 0x8080, 0x82, 0x8082, 0xffff];
const JUMPS = [1, 2, 3, 7, 16, 64, 1000, 0x7fff, 0x8000, 0xfffe, 0xffff];

const address = (random: Random, { sink, end, queue }: Target): bigint =>
  random.pick([
    () => sink.gpa + BigInt(random.below(sink.u8.length - 4096)),
    () => sink.gpa + BigInt(random.below(sink.u8.length - 4096) & ~15),
    () => sink.gpa + BigInt(4096 * random.below((sink.u8.length >> 12) - 1) + 4090),
    () => end - BigInt(random.below(100)),
    () => end,
    () => 0x7777_0000_0000n,
    () => (1n << 64n) - BigInt(1 + random.below(64)),
    () => 1n << BigInt(random.below(64)),
    // Rarely: the ring itself.
    () => (random.oneIn(4) ? queue.ring.desc.gpa : sink.gpa) + BigInt(16 * random.below(queue.ring.size)),
  ])();

/** Changes one field of a descriptor; split: flags then next, packed: id then flags. */
function bendDescriptor(random: Random, target: Target, into: GuestBuffer, index: number): void {
  const { packed } = target;
  const [flags, last] = packed ? [8 * index + 7, 8 * index + 6] : [8 * index + 6, 8 * index + 7];
  switch (random.below(5)) {
    case 0: {
      const gpa = address(random, target);
      into.u32[4 * index] = Number(gpa & 0xffff_ffffn);
      into.u32[4 * index + 1] = Number((gpa >> 32n) & 0xffff_ffffn);
      return;
    }
    case 1:
      into.u32[4 * index + 2] = random.pick(LENGTHS);
      return;
    case 2:
      // A packed descriptor without its AVAIL and USED bits is mostly none.
      into.u16[flags] = random.pick(FLAGS) | (packed && random.oneIn(2) ? into.u16[flags]! & 0x8080 : 0);
      return;
    case 3:
      into.u16[flags]! ^= 1 << random.below(3);
      return;
    default:
      into.u16[last] = random.oneIn(2) ? random.below(target.queue.ring.size + 2) : random.below(65536);
  }
}

type Mutation = (random: Random, target: Target) => void;

/** Before the entries are published. */
const CONTENT: readonly Mutation[] = [
  (random, target) => {
    const { ring } = target.queue;
    bendDescriptor(random, target, ring.desc, random.below(ring.size));
  },
  (random, target) => {
    if (target.tables.length > 0) bendDescriptor(random, target, random.pick(target.tables), random.below(3));
  },
  // One descriptor takes the place of another.
  (random, { queue: { ring } }) => {
    const [from, to] = [random.below(ring.size), random.below(ring.size)];
    ring.desc.u8.copyWithin(16 * to, 16 * from, 16 * from + 16);
  },
  // Heads of a split ring; what a packed one's driver asks of the device.
  (random, { queue: { ring } }) => {
    ring.avail.u16[2 + random.below(ring.avail.u16.length - 1)] = random.oneIn(2)
      ? random.below(ring.size + 2)
      : random.below(65536);
  },
  (random, { queue: { ring } }) => {
    ring.avail.u16[0] = random.below(65536);
  },
  (random, { queue: { ring } }) => {
    const first = random.below(ring.desc.u8.length - 16);
    for (let i = 0; i < 16; i++) ring.desc.u8[first + i] = random.below(256);
  },
];

/** After that: what makes entries visible. */
const VISIBILITY: readonly Mutation[] = [
  (random, { queue: { ring }, packed }) => {
    if (packed) ring.desc.u16[8 * random.below(ring.size) + 7]! ^= random.pick([0x80, 0x8000, 0x8080]);
    else ring.avail.u16[1]! += random.pick(JUMPS);
  },
];

export function mutateContent(random: Random, target: Target): void {
  for (let left = random.below(5); left > 0; left--) random.pick(CONTENT)(random, target);
}

export function mutateVisibility(random: Random, target: Target): void {
  if (random.oneIn(6)) random.pick(VISIBILITY)(random, target);
}
