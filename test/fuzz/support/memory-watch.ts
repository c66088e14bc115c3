import type { Region } from "../../support/front-end/guest-memory.ts";

const PAGE = 4096;

/** Guest addresses: the first byte and how many. */
export interface Range {
  readonly gpa: bigint;
  readonly bytes: number;
}

/** What may be done with a byte. */
const WRITABLE = 1;
const IGNORED = 2;
const PRECIOUS = 4;

/** All guest memory as it was, and what may become of each byte of it. */
export class MemoryWatch {
  /** The guest has offered precious memory as a buffer. */
  harmsItself = false;
  readonly #regions: readonly { region: Region; first: bigint; before: Buffer; marks: Uint8Array }[];

  constructor(regions: readonly Region[]) {
    this.#regions = regions.map((region) => {
      const { u8 } = region.memory.window(0);
      const first = region.description.gpa + BigInt(region.start);
      return { region, first, before: Buffer.from(u8), marks: new Uint8Array(u8.length) };
    });
  }

  /** Parts of rings that the device's side writes; it must log what it writes. */
  allow = (range: Range) => this.#mark(range, WRITABLE);

  /** The same of a buffer that the guest offers; what is precious must be known by then. */
  offer = (range: Range) => this.#mark(range, WRITABLE, PRECIOUS);

  /** The driver writes here itself. */
  ignore = (range: Range) => this.#mark(range, IGNORED);

  /** Rings, tables and other pairs' buffers: a guest that has these written over has done it to itself. */
  treasure = (range: Range) => this.#mark(range, PRECIOUS);

  /** 16 bytes at any guest address; undefined where there is no memory. */
  read(gpa: bigint): DataView | undefined {
    const bytes = new Uint8Array(16);
    for (let i = 0; i < 16; i++) {
      const at = gpa + BigInt(i);
      const home = this.#regions.find(({ first, marks }) => at >= first && at < first + BigInt(marks.length));
      if (!home) return undefined;
      bytes[i] = home.before[Number(at - home.first)]!;
    }
    return new DataView(bytes.buffer);
  }

  /** Changes that nobody may have made, and changed pages that are not logged. */
  problems(isLogged: (page: number) => boolean): string[] {
    const problems: string[] = [];
    for (const { region, first, before, marks } of this.#regions) {
      const now = Buffer.from(region.memory.window(0).u8);
      for (let page = 0; page < now.length; page += PAGE) {
        const end = page + PAGE;
        if (before.compare(now, page, end, page, end) === 0) continue;
        let changed = false;
        for (let at = page; at < end; at++) {
          if (before[at] === now[at] || (marks[at]! & IGNORED) !== 0) continue;
          changed = true;
          if ((marks[at]! & WRITABLE) === 0)
            problems.push(`GPA 0x${(first + BigInt(at)).toString(16)} was written`);
        }
        const number = Number((first + BigInt(page)) / BigInt(PAGE));
        if (changed && !isLogged(number)) problems.push(`page 0x${number.toString(16)} is not logged`);
      }
    }
    return problems.slice(0, 10);
  }

  #mark({ gpa, bytes }: Range, mark: number, harm = 0): void {
    for (const { first, marks } of this.#regions) {
      const from = Number(gpa > first ? gpa - first : 0n);
      const to = Math.min(Number(gpa + BigInt(bytes) - first), marks.length);
      for (let at = from; at < to; at++) {
        if (marks[at]! & harm) this.harmsItself = true;
        marks[at]! |= mark;
      }
    }
  }
}
