import { fstatSync } from "node:fs";
import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import { readPeerFile } from "../hw/ffi/peer-file.ts";
import { messageOf } from "../hw/operator-error.ts";

/** Most bytes of a device state that we take. */
const STATE_MAX = 64 * 1024;

/** Reads a device state to its end from a channel of the front-end. Owns the fd until it is closed. */
export class StateTransfer {
  readonly #bytes: Uint8Array[] = [];
  #length = 0;
  #ended = false;
  #problem: string | undefined;
  #fd: number;

  /** Takes over the fd: a pipe, a socket or a file. */
  constructor(
    private readonly loop: EventLoop,
    fd: number,
  ) {
    this.#fd = fd;
    // A file is always readable, which epoll refuses to watch; it is read in `finish`.
    if (!fstatSync(fd).isFile()) loop.add(fd, EPOLLIN, () => this.#read());
  }

  /** What came, once the writer has closed its end; a string says what is wrong. */
  finish(): Uint8Array | string {
    this.#read();
    this.close();
    if (this.#problem) return this.#problem;
    if (!this.#ended) return "the front-end has not closed its end of the channel";
    return Buffer.concat(this.#bytes);
  }

  close(): void {
    if (this.#fd < 0) return;
    this.loop.remove(this.#fd);
    closeFd(this.#fd);
    this.#fd = -1;
  }

  #read(): void {
    try {
      while (this.#fd >= 0 && !this.#ended) {
        const chunk = new Uint8Array(new ArrayBuffer(4096));
        const n = readPeerFile(this.#fd, chunk, "device state");
        if (n === undefined) return;
        if (n === 0) this.#ended = true;
        this.#bytes.push(chunk.subarray(0, n));
        this.#length += n;
        if (this.#length > STATE_MAX) throw new Error(`more than ${STATE_MAX} bytes of device state`);
      }
    } catch (error) {
      this.#problem = messageOf(error);
    }
    // Nothing more is wanted: an ended or failed channel would wake the loop for ever.
    this.close();
  }
}
