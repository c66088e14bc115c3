import { OperatorError } from "../hw/operator-error.ts";
import { hex, rangesMeet } from "../memory/region.ts";

/** One part of a ring: its name in messages, bytes and alignment. */
export interface RingPart {
  readonly name: string;
  readonly bytes: number;
  readonly align: number;
}

/**
 * The parts of a ring in the order descriptor, driver, device area: extents of virtio 1.3 §2.7 (split) and §2.8
 * (packed), alignments of §2.7 and §2.8.10.1.
 * @param eventIdx whether EVENT_IDX is negotiated, which adds a field behind the avail and the used ring
 */
export function ringParts(
  size: number,
  packed: boolean,
  eventIdx: boolean,
): readonly [RingPart, RingPart, RingPart] {
  const desc = { name: packed ? "descriptor ring" : "descriptor table", bytes: 16 * size, align: 16 };
  if (packed) {
    return [desc, { name: "driver area", bytes: 4, align: 4 }, { name: "device area", bytes: 4, align: 4 }];
  }
  const event = eventIdx ? 2 : 0;
  return [
    desc,
    { name: "available ring", bytes: 4 + 2 * size + event, align: 2 },
    { name: "used ring", bytes: 4 + 8 * size + event, align: 4 },
  ];
}

/** Why a ring can not have this size; undefined when it can. `packed` undefined: the layout is not known yet. */
export function sizeProblem(size: number, max: number, packed: boolean | undefined): string | undefined {
  if (size === 0) return "the size is 0";
  if (size > max) return `the size ${size} is above the device's maximum of ${max}`;
  if (packed === false && (size & (size - 1)) !== 0)
    return `the size ${size} of a split ring is not a power of two`;
  return undefined;
}

/** Throws when parts of one ring overlap. `addresses` are in the order of `ringParts`. */
export function checkApart(parts: readonly RingPart[], addresses: readonly bigint[], ring: string): void {
  for (let a = 0; a < parts.length; a++) {
    for (let b = a + 1; b < parts.length; b++) {
      if (rangesMeet(addresses[a]!, BigInt(parts[a]!.bytes), addresses[b]!, BigInt(parts[b]!.bytes))) {
        throw new OperatorError(`${ring}`, {
          why: `its ${parts[a]!.name} at ${hex(addresses[a]!)} and ${parts[b]!.name} at ${hex(addresses[b]!)} overlap`,
          kind: "protocol",
        });
      }
    }
  }
}

/** Throws when an address is not aligned as its part must be. */
export function checkAligned(part: RingPart, address: bigint, ring: string): void {
  if (address % BigInt(part.align) === 0n) return;
  throw new OperatorError(`${ring}: ${part.name} at ${hex(address)}`, {
    why: `it is not aligned to ${part.align} bytes`,
    kind: "protocol",
  });
}
