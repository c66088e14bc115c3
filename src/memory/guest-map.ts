import type { MappedMemory } from "../hw/ffi/mmap.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { hex } from "./region.ts";

/** Where a guest address lies in this process. SAFETY: valid until the table changes. */
export interface Located {
  readonly memory: MappedMemory;
  /** Byte offset in `memory`. */
  readonly offset: number;
  /** False when an access may raise SIGBUS because the file can be truncated. */
  readonly stable: boolean;
}

/** What it takes to find guest addresses in this process. */
export interface GuestMap {
  readonly regions: readonly { readonly gpa: bigint; readonly size: bigint }[];
  /** Finds a guest address; throws OperatorError unless the whole range lies in one region. */
  locate(gpa: bigint, length: number): Located;
}

/** The error for a range that no region holds. */
export function notInMemory(gpa: bigint, length: number): OperatorError {
  return new OperatorError(`guest memory at GPA ${hex(gpa)} with ${length} bytes`, {
    why: "no memory region holds this range",
    kind: "protocol",
  });
}
