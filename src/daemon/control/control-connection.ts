import type { Socket } from "node:net";
import { toPlain } from "../messages.ts";
import {
  CONTROL_VERSION,
  type ControlAnswer,
  type ControlRequest,
  parseRequest,
  REQUEST_MAX,
} from "./protocol.ts";

/** A connection without a request for this long is closed. */
export const IDLE_MS = 60_000;
/** Bytes of requests that may wait, as some arrive before the pause of the socket takes effect. */
const WAITING_MAX = 1 << 20;
/** Bytes of answers that a client may leave unread. */
const UNREAD_MAX = 16 << 20;

/**
 * One client of the control socket. Its requests are carried out one after the other; while one is, no more is read,
 * so that a client can make this process hold no more than a few lines.
 */
export class ControlConnection {
  #received = Buffer.alloc(0);
  #busy = false;
  #open = true;
  #ended = false;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly carryOut: (request: ControlRequest) => Promise<unknown>,
    private readonly onClose: () => void,
  ) {
    socket.on("data", (bytes) => this.#receive(Buffer.from(bytes)));
    socket.on("end", () => this.#end());
    socket.on("error", () => this.close());
    socket.on("close", () => this.close());
    this.#rest();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    clearTimeout(this.#idle);
    this.socket.destroy();
    this.onClose();
  }

  #rest(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.close(), IDLE_MS);
    this.#idle.unref();
  }

  #receive(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    if (this.#received.length > WAITING_MAX) this.close();
    else if (!this.#busy) void this.#serve();
  }

  /** The client sends no more; what it has asked for is answered still. */
  #end(): void {
    this.#ended = true;
    if (!this.#busy) this.close();
  }

  async #serve(): Promise<void> {
    let line = this.#takeLine();
    if (line !== undefined) {
      this.#busy = true;
      this.socket.pause();
      clearTimeout(this.#idle);
      for (; line !== undefined && this.#open; line = this.#takeLine()) this.#send(await this.#answer(line));
      this.#busy = false;
      if (!this.#open) return;
      // Only whole requests count: a client that sends byte by byte gets no more time for it.
      this.#rest();
      this.socket.resume();
    }
    if (this.#received.length > REQUEST_MAX) this.#refuse(`a request has at most ${REQUEST_MAX} bytes`);
    else if (this.#ended) this.close();
  }

  /** The next whole line, without its newline. */
  #takeLine(): string | undefined {
    const end = this.#received.indexOf(10);
    if (end < 0 || end > REQUEST_MAX) return undefined;
    const line = this.#received.toString("utf8", 0, end);
    this.#received = this.#received.subarray(end + 1);
    return line;
  }

  async #answer(line: string): Promise<ControlAnswer> {
    try {
      return { v: CONTROL_VERSION, ok: true, result: (await this.carryOut(parseRequest(line))) ?? null };
    } catch (error) {
      return { v: CONTROL_VERSION, ok: false, error: toPlain(error) };
    }
  }

  #refuse(what: string): void {
    const error = { what, why: undefined, remedy: undefined, kind: "usage" } as const;
    this.#send({ v: CONTROL_VERSION, ok: false, error });
    if (this.#open) this.socket.end(() => this.close());
  }

  #send(answer: ControlAnswer): void {
    if (!this.#open) return;
    this.socket.write(`${JSON.stringify(answer)}\n`);
    if (this.socket.writableLength > UNREAD_MAX) this.close();
  }
}
