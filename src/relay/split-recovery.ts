import type { GuestMemory } from "../memory/guest-memory.ts";
import { malformed, notRecoverable, type Recovery } from "./recovery.ts";
import type { GuestRing } from "./relay.ts";

/** A driver may be filling slots just now, which looks like disorder until it has published them. */
const ATTEMPTS = 4;

/**
 * Position and entries in flight of a split ring that the device has left. In flight are the entries between the
 * used and the available index if the device completed in order; without IN_ORDER that is checked against all entries
 * of which both rings still hold the record, and the heads in flight must differ.
 * @throws OperatorError when the ring is not in guest memory
 */
export function recoverSplit(memory: GuestMemory, ring: GuestRing): Recovery {
  let result = look(memory, ring);
  for (let i = 1; i < ATTEMPTS && result.kind === "not-recoverable"; i++) result = look(memory, ring);
  return result;
}

function look(memory: GuestMemory, ring: GuestRing): Recovery {
  const { size } = ring;
  const avail = new DataView(memory.read(ring.driverGpa, 4 + 2 * size).buffer);
  const used = new DataView(memory.read(ring.deviceGpa, 4 + 8 * size).buffer);
  const availIndex = avail.getUint16(2, true);
  const usedIndex = used.getUint16(2, true);
  const headAt = (index: number) => avail.getUint16(4 + 2 * (index & (size - 1)), true);
  const usedAt = (index: number) => used.getUint32(4 + 8 * (index & (size - 1)), true);
  const inFlight = (availIndex - usedIndex) & 0xffff;
  if (inFlight > size) {
    return malformed(
      `the available index ${availIndex} is ${inFlight} ahead of the used index ${usedIndex} in a ring of ${size}`,
    );
  }
  const position = { availPosition: usedIndex, availWrap: 0, usedPosition: usedIndex, usedWrap: 0 };
  if (inFlight === 0) return { kind: "recovered", position, inFlight, heads: [], verified: true };

  const heads = new Set<number>();
  for (let i = 0; i < inFlight; i++) {
    const head = headAt(usedIndex + i);
    if (head >= size) return malformed(`head ${head} is available in a ring of ${size}`);
    if (heads.has(head))
      return notRecoverable(`head ${head} is twice among the entries in flight: completed out of order`);
    heads.add(head);
  }
  // Slots that no newer entry has taken: the last `size` available entries but for those in flight. With IN_ORDER the
  // used elements in between may be left out (virtio 1.3 §2.7.9).
  const held = ring.inOrder ? 0 : size - inFlight;
  for (let i = 1; i <= held; i++) {
    const index = usedIndex - i;
    if (headAt(index) !== usedAt(index)) {
      return notRecoverable(
        `entry ${index & 0xffff} made head ${headAt(index)} available, but head ${usedAt(index)} was used there: completed out of order`,
      );
    }
  }
  // With all slots in flight and no head twice, every head is in flight, whatever the order was.
  return { kind: "recovered", position, inFlight, heads: [...heads], verified: true };
}
