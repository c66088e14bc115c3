import { isErrno } from "../../../src/hw/ffi/errno.ts";
import { EPOLLOUT } from "../../../src/hw/ffi/event-loop.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { receiveWithFds, sendWithFds } from "../../../src/hw/ffi/fd-passing.ts";
import { acceptUnix, connectUnix, listenUnix } from "../../../src/hw/ffi/unix-socket.ts";
import { HEADER_SIZE } from "./protocol.ts";
import { eventually, ready, Timeout } from "./wait.ts";

/** How long a peer on a busy machine may take for one message. */
export const PATIENCE_MS = 20_000;

/** The peer closed the connection. */
export class PeerClosed extends Error {
  override readonly name = "PeerClosed";
}

export interface Message {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** The receiver's to close. */
  readonly fds: number[];
}

/** One vhost-user connection as bytes and fds; it knows no message. */
export class Channel {
  #bytes: Uint8Array = new Uint8Array(0);
  #fds: number[] = [];
  #eof = false;
  #open = true;

  constructor(readonly fd: number) {}

  /** Connects to a listening back-end, which may be about to listen. */
  static async connect(path: string, ms = PATIENCE_MS): Promise<Channel> {
    const attempt = () => {
      try {
        return new Channel(connectUnix(path));
      } catch (error) {
        if (isErrno(error, "ENOENT", "ECONNREFUSED", "EAGAIN")) return undefined;
        throw error;
      }
    };
    return eventually(attempt, ms, `connect ${path}`);
  }

  /** Sends all bytes; the fds, which stay the caller's, go with the first of them. */
  async send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    let rest = bytes;
    let withFds = fds;
    while (rest.length > 0) {
      let n: number | undefined;
      try {
        n = sendWithFds(this.fd, rest, withFds);
      } catch (error) {
        if (isErrno(error, "EPIPE", "ECONNRESET")) throw new PeerClosed("closed while sending");
        throw error;
      }
      if (n === undefined) await ready(this.fd, PATIENCE_MS, "send", EPOLLOUT);
      else {
        rest = rest.subarray(n);
        withFds = [];
      }
    }
  }

  /** The next message of the peer. */
  async receive(ms = PATIENCE_MS): Promise<Message> {
    await this.#fill(HEADER_SIZE, ms);
    const header = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, HEADER_SIZE);
    const [request, flags, size] = [0, 4, 8].map((at) => header.getUint32(at, true)) as [
      number,
      number,
      number,
    ];
    await this.#fill(HEADER_SIZE + size, ms);
    const payload = this.#bytes.slice(HEADER_SIZE, HEADER_SIZE + size);
    this.#bytes = this.#bytes.subarray(HEADER_SIZE + size);
    const fds = this.#fds;
    this.#fds = [];
    return { request, flags, payload, fds };
  }

  /** Waits until the peer has closed; what it still sent is dropped. */
  async closed(ms = PATIENCE_MS): Promise<void> {
    for (;;) {
      if (this.#eof) return;
      await ready(this.fd, ms, "the peer's close");
      this.#read();
    }
  }

  /** Whether the peer has sent bytes that were not received yet. */
  get pending(): boolean {
    this.#read();
    return this.#bytes.length > 0;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#fds.forEach(closeFd);
    closeFd(this.fd);
  }

  async #fill(size: number, ms: number) {
    const deadline = performance.now() + ms;
    while (this.#bytes.length < size) {
      if (this.#read()) continue;
      if (this.#eof) throw new PeerClosed("closed by the peer");
      const left = deadline - performance.now();
      if (left <= 0) throw new Timeout(`no message within ${ms} ms`);
      await ready(this.fd, left, "a message");
    }
  }

  /** Takes what has arrived; false when nothing has. */
  #read(): boolean {
    const chunk = new Uint8Array(new ArrayBuffer(4096));
    const received = this.#eof ? undefined : receiveWithFds(this.fd, chunk);
    if (!received) return false;
    this.#fds.push(...received.fds);
    if (received.bytes === 0) this.#eof = true;
    else this.#bytes = Buffer.concat([this.#bytes, chunk.subarray(0, received.bytes)]);
    return received.bytes > 0;
  }
}

/** A front-end that listens, for back-ends in the client role. */
export class Listener {
  readonly #fd: number;

  constructor(readonly path: string) {
    this.#fd = listenUnix(path);
  }

  async accept(ms = PATIENCE_MS): Promise<Channel> {
    await ready(this.#fd, ms, `a back-end connecting to ${this.path}`);
    return new Channel(acceptUnix(this.#fd)!);
  }

  close(): void {
    closeFd(this.#fd);
  }
}
