import { ptr } from "bun:ffi";
import type { MappedMemory } from "../hw/ffi/mmap.ts";
import { copyFromProcess } from "../hw/ffi/process-memory.ts";
import type { GuestMap } from "../memory/guest-map.ts";

const WINDOW = 2 ** 31;
const FAR_PAGE = 2 ** 31 - 1;

/** Guest memory from `first` to before `end` (GPA) that lies in one window of one map. */
interface Piece {
  readonly first: number;
  readonly end: number;
  readonly memory: MappedMemory;
  /** Offset of `first` in the map. */
  readonly offset: number;
  /** Words from `first` on; empty where an access could raise SIGBUS. */
  readonly u32: Uint32Array;
}

/**
 * What the relay needs of guest memory beyond the rings: whether a buffer lies in it, and descriptors of indirect
 * tables. GPAs are numbers (all below 2^53). `refresh` after every change of the memory table.
 */
export class GuestView {
  /** The words that `readDescriptor` has read: address low and high, length, the rest. */
  readonly words: Uint32Array;
  readonly #wordsHva: number;
  readonly #memory: GuestMap;
  #pieces: Piece[] = [];
  /** Ranges without gaps, ascending: adjacent regions are one to a device. */
  #starts = new Float64Array(0);
  #ends = new Float64Array(0);
  /** The pages, from the first to before `endPage`, of the range that `holds` found last: for a look without a call. */
  firstPage = 0;
  endPage = 0;
  #lastStart = 0;
  #lastEnd = -1;
  #lastPiece: Piece | undefined;

  constructor(memory: GuestMap) {
    this.#memory = memory;
    this.words = new Uint32Array(new ArrayBuffer(16));
    // SAFETY: the buffer came before its view, so it does not move.
    this.#wordsHva = ptr(this.words);
    this.refresh();
  }

  /** Takes over the memory table as it is now. */
  refresh(): void {
    const pieces: Piece[] = [];
    const ranges: [number, number][] = [];
    const regions = [...this.#memory.regions].sort((a, b) => (a.gpa < b.gpa ? -1 : 1));
    for (const { gpa, size } of regions) {
      const first = Number(gpa);
      const end = Number(gpa + size);
      const last = ranges[ranges.length - 1];
      if (last?.[1] === first) last[1] = end;
      else ranges.push([first, end]);
      const { memory, offset, stable } = this.#memory.locate(gpa, 1);
      for (let at = 0; at < end - first; ) {
        const length = Math.min(end - first - at, WINDOW - ((offset + at) % WINDOW));
        pieces.push(pieceOf(memory, first + at, offset + at, length, stable));
        at += length;
      }
    }
    this.#pieces = pieces;
    this.#starts = Float64Array.from(ranges, ([start]) => start);
    this.#ends = Float64Array.from(ranges, ([, end]) => end);
    this.#lastStart = 0;
    this.#lastEnd = -1;
    this.firstPage = 0;
    this.endPage = 0;
    this.#lastPiece = undefined;
  }

  /** Whether `length` bytes from `gpa` are all guest memory, adjacent regions counted as one. */
  holds(gpa: number, length: number): boolean {
    if (gpa >= this.#lastStart && gpa + length <= this.#lastEnd) return true;
    const starts = this.#starts;
    let low = 0;
    let high = starts.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (gpa < starts[middle]!) {
        high = middle - 1;
      } else if (gpa >= this.#ends[middle]!) {
        low = middle + 1;
      } else {
        this.#lastStart = starts[middle]!;
        this.#lastEnd = this.#ends[middle]!;
        // Regions consist of whole pages. Beyond 8 TiB pages are no small integers, and nothing looks here for them.
        this.firstPage = Math.min(this.#lastStart / 4096, FAR_PAGE);
        this.endPage = Math.min(this.#lastEnd / 4096, FAR_PAGE);
        return gpa + length <= this.#lastEnd;
      }
    }
    return false;
  }

  /** Reads the 16 bytes at `gpa` into `words`, each once; false when they are not guest memory. */
  readDescriptor(gpa: number): boolean {
    let piece = this.#lastPiece;
    if (!piece || gpa < piece.first || gpa >= piece.end) {
      piece = this.#pieces.find((p) => gpa >= p.first && gpa < p.end);
      if (!piece) return false;
      this.#lastPiece = piece;
    }
    const source = piece.u32;
    const at = (gpa - piece.first) / 4;
    if (Number.isInteger(at) && at + 4 <= source.length) {
      const { words } = this;
      words[0] = source[at]!;
      words[1] = source[at + 1]!;
      words[2] = source[at + 2]!;
      words[3] = source[at + 3]!;
      return true;
    }
    return this.#copyDescriptor(gpa);
  }

  /** Misaligned, at the end of a piece, or where an access of our own could raise SIGBUS. */
  #copyDescriptor(gpa: number): boolean {
    for (let done = 0; done < 16; ) {
      const at = gpa + done;
      const piece = this.#pieces.find((p) => at >= p.first && at < p.end);
      if (!piece) return false;
      const length = Math.min(16 - done, piece.end - at);
      piece.memory.window(0); // Throws once it is unmapped.
      // SAFETY: the map is there; a part of its file that is gone ends the copy.
      const hva = piece.memory.hva + piece.offset + (at - piece.first);
      if (copyFromProcess(hva, this.#wordsHva + done, length) !== 0) return false;
      done += length;
    }
    return true;
  }
}

function pieceOf(
  memory: MappedMemory,
  first: number,
  offset: number,
  length: number,
  stable: boolean,
): Piece {
  const base = { first, end: first + length, memory, offset };
  if (!stable) return { ...base, u32: new Uint32Array(0) };
  const window = memory.window(offset);
  // Regions are page aligned, so that their words are aligned.
  return { ...base, u32: new Uint32Array(window.u8.buffer, offset - window.offset, length >>> 2) };
}
