// Frames with numbers, sent and received on an interface of the kernel's. Whoever is at the other end returns each of
// them once and in its order, so that a number that is passed over is a frame lost, and one that is seen again a frame
// doubled.
import { readFileSync } from "node:fs";
import { checked, E } from "../../../src/hw/ffi/errno.ts";
import { closeFd, isReady, O_CLOEXEC, O_NONBLOCK, POLLIN, readFd } from "../../../src/hw/ffi/fd.ts";
import { lastErrno, libc } from "../../../src/hw/ffi/libc.ts";

const AF_PACKET = 17;
const SOCK_RAW = 3;
/** The first of the two that IEEE 802 leaves to experiments. */
const ETHERTYPE = 0x88b5;
const FRAME_BYTES = 60;
const NUMBER_AT = 14;
/** Room for the kernel to say that its queue is full. */
const BUSY = new Set<number>([E.EAGAIN, E.ENOBUFS]);

export interface FrameCounts {
  sent: number;
  /** Different frames that came back. */
  received: number;
  /** Passed over by a later one, or given up. */
  lost: number;
  duplicates: number;
  /** Longest time between two frames since it was asked last, in microseconds. */
  pause_us: number;
}

export class NumberedFrames {
  readonly #socket: number;
  readonly #out = Buffer.alloc(FRAME_BYTES);
  readonly #in = Buffer.alloc(2048);
  /** One bit would do; by number, whether the frame has come back. */
  #seen = new Uint8Array(1 << 16);
  #next = 0;
  #expected = 0;
  #received = 0;
  #duplicates = 0;
  #last = performance.now();
  #pause = 0;

  constructor(link: string) {
    const index = Number(readFileSync(`/sys/class/net/${link}/ifindex`, "utf8"));
    const address = readFileSync(`/sys/class/net/${link}/address`, "utf8").trim();
    const protocol = swapped(ETHERTYPE);
    const type = SOCK_RAW | O_NONBLOCK | O_CLOEXEC;
    this.#socket = checked(libc.socket(AF_PACKET, type, protocol), "socket", link);
    // struct sockaddr_ll: u16 family, u16 protocol (big-endian), s32 interface, then nothing that bind looks at.
    const end = new ArrayBuffer(20);
    new Uint16Array(end).set([AF_PACKET, protocol]);
    new Int32Array(end)[1] = index;
    checked(libc.bind(this.#socket, new Uint8Array(end), end.byteLength), "bind", link);
    // To everybody, so that no filter on the way asks for the address.
    this.#out.fill(0xff, 0, 6);
    this.#out.set(Buffer.from(address.replaceAll(":", ""), "hex"), 6);
    this.#out.writeUInt16BE(ETHERTYPE, 12);
  }

  /** Frames that are on their way. */
  get underWay(): number {
    return this.#next - this.#expected;
  }

  counts(): FrameCounts {
    const pause_us = Math.round(1000 * this.#pause);
    this.#pause = 0;
    const lost = this.#expected - this.#received;
    return { sent: this.#next, received: this.#received, lost, duplicates: this.#duplicates, pause_us };
  }

  /** Whether anything can be received within a time. */
  wait(ms: number): boolean {
    return isReady(this.#socket, POLLIN, ms);
  }

  /** Takes in what has come. */
  receive(): void {
    for (let n = readFd(this.#socket, this.#in); n !== undefined; n = readFd(this.#socket, this.#in)) {
      if (n >= NUMBER_AT + 4) this.#take(this.#in.readUInt32LE(NUMBER_AT));
    }
  }

  #take(number: number): void {
    const now = performance.now();
    this.#pause = Math.max(this.#pause, now - this.#last);
    this.#last = now;
    // One that was counted as lost is none after all when it comes late.
    if (this.#seen[number]) this.#duplicates++;
    else this.#received++;
    this.#seen[number] = 1;
    this.#expected = Math.max(this.#expected, number + 1);
  }

  /** Sends until so many frames are on their way. */
  fill(window: number): void {
    while (this.underWay < window) {
      if (this.#next === this.#seen.length) this.#grow();
      this.#out.writeUInt32LE(this.#next, NUMBER_AT);
      if (libc.write(this.#socket, this.#out, FRAME_BYTES) < 0) {
        if (BUSY.has(lastErrno())) return;
        checked(-1, "write");
      }
      this.#next++;
    }
  }

  #grow(): void {
    const longer = new Uint8Array(2 * this.#seen.length);
    longer.set(this.#seen);
    this.#seen = longer;
  }

  /** Waits no longer for what is on its way. */
  giveUp(): void {
    this.#expected = this.#next;
  }

  close(): void {
    closeFd(this.#socket);
  }
}

const swapped = (number: number) => ((number & 0xff) << 8) | (number >>> 8);
