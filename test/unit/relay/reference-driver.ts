import type { GuestRing } from "../../../src/relay/relay.ts";
import type { Stage } from "./stage.ts";

export interface Piece {
  readonly gpa: number;
  readonly length: number;
  readonly write: boolean;
}

export interface Reaped {
  readonly id: number;
  readonly length: number;
}

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

/** The guest's driver, on guest memory alone, from any position. Each indirect table has 256 bytes of its own. */
export interface ReferenceDriver {
  readonly free: number;
  /** Makes a chain available at `publish`; its id. */
  add(pieces: readonly Piece[], indirect: boolean): number;
  /** Whether the device wants a kick. */
  publish(): boolean;
  /** Next used chain. */
  reap(): Reaped | undefined;
  /** Asks for a call at the next used chain; whether there is one already. */
  arm(): boolean;
  disarm(): void;
}

export const TABLE_BYTES = 256;

function putDescriptor(stage: Stage, at: number, { gpa, length }: Piece, rest: number): void {
  stage.put(at, 4, gpa % 2 ** 32);
  stage.put(at + 4, 4, Math.floor(gpa / 2 ** 32));
  stage.put(at + 8, 4, length);
  stage.put(at + 12, 4, rest);
}

export class SplitReference implements ReferenceDriver {
  free: number;
  readonly #free: number[];
  readonly #chains = new Map<number, number[]>();
  #avail: number;
  #published: number;
  #used: number;
  readonly #desc: number;
  readonly #driver: number;
  readonly #device: number;

  constructor(
    readonly stage: Stage,
    readonly ring: GuestRing,
    readonly tables: number,
    start: number,
  ) {
    this.#desc = Number(ring.descGpa);
    this.#driver = Number(ring.driverGpa);
    this.#device = Number(ring.deviceGpa);
    this.free = ring.size;
    this.#free = Array.from({ length: ring.size }, (_, i) => i);
    this.#avail = start;
    this.#published = start;
    this.#used = start;
    stage.put(this.#driver + 2, 2, start);
    stage.put(this.#device + 2, 2, start);
  }

  add(pieces: readonly Piece[], indirect: boolean): number {
    const { stage } = this;
    const heads = this.#free.splice(0, indirect ? 1 : pieces.length);
    const head = heads[0]!;
    this.#chains.set(head, heads);
    this.free -= heads.length;
    const flagsOf = (i: number, next: number) =>
      (pieces[i]!.write ? WRITE : 0) + (i + 1 < pieces.length ? NEXT + next * 65536 : 0);
    if (indirect) {
      const table = this.tables + head * TABLE_BYTES;
      for (const [i, piece] of pieces.entries())
        putDescriptor(stage, table + 16 * i, piece, flagsOf(i, i + 1));
      putDescriptor(
        stage,
        this.#desc + 16 * head,
        { gpa: table, length: 16 * pieces.length, write: false },
        INDIRECT,
      );
    } else {
      for (const [i, piece] of pieces.entries()) {
        putDescriptor(stage, this.#desc + 16 * heads[i]!, piece, flagsOf(i, heads[i + 1] ?? 0));
      }
    }
    stage.put(this.#driver + 4 + 2 * (this.#avail % this.ring.size), 2, head);
    this.#avail = (this.#avail + 1) & 0xffff;
    return head;
  }

  publish(): boolean {
    const { stage, ring } = this;
    const old = this.#published;
    const now = this.#avail;
    this.#published = now;
    stage.put(this.#driver + 2, 2, now);
    if (!ring.eventIdx) return (stage.get(this.#device, 2) & 1) === 0;
    const event = stage.get(this.#device + 4 + 8 * ring.size, 2);
    return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
  }

  reap(): Reaped | undefined {
    const { stage } = this;
    const index = stage.get(this.#device + 2, 2);
    if (((index - this.#used) & 0xffff) > this.#chains.size) throw new Error("used index ran away");
    if (index === this.#used) return undefined;
    const at = this.#device + 4 + 8 * (this.#used % this.ring.size);
    this.#used = (this.#used + 1) & 0xffff;
    const id = stage.get(at, 4);
    const heads = this.#chains.get(id);
    if (!heads) throw new Error(`used id ${id} is not in use`);
    this.#chains.delete(id);
    this.#free.push(...heads);
    this.free += heads.length;
    return { id, length: stage.get(at + 4, 4) };
  }

  arm(): boolean {
    const { stage, ring } = this;
    if (ring.eventIdx) stage.put(this.#driver + 4 + 2 * ring.size, 2, this.#used);
    else stage.put(this.#driver, 2, 0);
    return stage.get(this.#device + 2, 2) !== this.#used;
  }

  disarm(): void {
    if (!this.ring.eventIdx) this.stage.put(this.#driver, 2, 1);
  }
}

export class PackedReference implements ReferenceDriver {
  free: number;
  readonly #ids: number[];
  readonly #chains = new Map<number, number>();
  /** Head flags that `publish` writes, in the order of the chains. */
  readonly #heads: [at: number, flags: number][] = [];
  #added = 0;
  #avail: number;
  #availWrap: number;
  #used: number;
  #usedWrap: number;
  readonly #desc: number;
  readonly #driver: number;
  readonly #device: number;

  constructor(
    readonly stage: Stage,
    readonly ring: GuestRing,
    readonly tables: number,
    start: number,
    wrap: number,
  ) {
    this.#desc = Number(ring.descGpa);
    this.#driver = Number(ring.driverGpa);
    this.#device = Number(ring.deviceGpa);
    this.free = ring.size;
    this.#ids = Array.from({ length: ring.size }, (_, i) => i);
    this.#avail = start;
    this.#availWrap = wrap;
    this.#used = start;
    this.#usedWrap = wrap;
    // As the earlier laps have left it: all used.
    for (let i = 0; i < ring.size; i++) {
      const lap = i < start ? wrap : 1 - wrap;
      stage.put(this.#desc + 16 * i + 14, 2, start === 0 && wrap === 1 ? 0 : lap ? 0x8080 : 0);
    }
  }

  add(pieces: readonly Piece[], indirect: boolean): number {
    const { stage } = this;
    const id = this.#ids.shift()!;
    let ring = pieces;
    if (indirect) {
      const table = this.tables + id * TABLE_BYTES;
      for (const [i, piece] of pieces.entries()) {
        putDescriptor(stage, table + 16 * i, piece, (piece.write ? WRITE : 0) * 65536);
      }
      ring = [{ gpa: table, length: 16 * pieces.length, write: false }];
    }
    this.#chains.set(id, ring.length);
    this.free -= ring.length;
    this.#added += ring.length;
    for (const [i, piece] of ring.entries()) {
      const at = this.#desc + 16 * this.#avail;
      const kind = indirect ? INDIRECT : (piece.write ? WRITE : 0) | (i + 1 < ring.length ? NEXT : 0);
      const flags = kind | (this.#availWrap ? 0x80 : 0x8000);
      const shown = i === 0 ? stage.get(at + 14, 2) : flags;
      // Only the last descriptor has the id.
      putDescriptor(stage, at, piece, shown * 65536 + (i + 1 === ring.length ? id : 0xffff));
      if (i === 0) this.#heads.push([at, flags]);
      if (++this.#avail === this.ring.size) {
        this.#avail = 0;
        this.#availWrap ^= 1;
      }
    }
    return id;
  }

  publish(): boolean {
    const { stage } = this;
    for (const [at, flags] of this.#heads.splice(0).reverse()) stage.put(at + 14, 2, flags);
    const added = this.#added;
    this.#added = 0;
    const flags = stage.get(this.#device + 2, 2) & 3;
    if (flags !== 2) return flags === 0;
    const event = stage.get(this.#device, 2);
    const behind = this.#avail - (event & 0x7fff) + (event >>> 15 === this.#availWrap ? 0 : this.ring.size);
    return behind >= 1 && behind <= added;
  }

  #isUsed(): boolean {
    const flags = this.stage.get(this.#desc + 16 * this.#used + 14, 2);
    return (flags & 0x8080) === (this.#usedWrap ? 0x8080 : 0);
  }

  reap(): Reaped | undefined {
    if (this.#chains.size === 0 || !this.#isUsed()) return undefined;
    const at = this.#desc + 16 * this.#used;
    const id = this.stage.get(at + 12, 2);
    const slots = this.#chains.get(id);
    if (slots === undefined) throw new Error(`used id ${id} is not in use`);
    this.#chains.delete(id);
    this.#ids.push(id);
    this.free += slots;
    this.#used += slots;
    if (this.#used >= this.ring.size) {
      this.#used -= this.ring.size;
      this.#usedWrap ^= 1;
    }
    return { id, length: this.stage.get(at + 8, 4) };
  }

  arm(): boolean {
    const { stage } = this;
    if (this.ring.eventIdx) stage.put(this.#driver, 2, this.#used | (this.#usedWrap << 15));
    stage.put(this.#driver + 2, 2, this.ring.eventIdx ? 2 : 0);
    return this.#chains.size > 0 && this.#isUsed();
  }

  disarm(): void {
    this.stage.put(this.#driver + 2, 2, 1);
  }
}
