import type { EventLoop } from "../../../../src/hw/ffi/event-loop.ts";
import { closeFd } from "../../../../src/hw/ffi/fd.ts";
import { receiveWithFds, sendWithFds } from "../../../../src/hw/ffi/fd-passing.ts";
import { frame, number } from "./wire.ts";

export interface Reply {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly fds: number[];
}

const VERSION = 1;
const NEED_REPLY = 8;

/** The other end of a connection in the same thread: what it sends is handled before it looks for a reply. */
export class Peer {
  #open = true;

  constructor(
    readonly loop: EventLoop,
    readonly fd: number,
  ) {}

  /** Lets the loop handle what has arrived. */
  pump(): void {
    while (this.loop.runOnce(0) > 0);
  }

  raw(data: Uint8Array, fds: readonly number[] = []): void {
    for (let sent = 0; sent < data.length; ) {
      const n = sendWithFds(this.fd, data.subarray(sent), sent === 0 ? fds : []);
      if (n === undefined) this.pump();
      else sent += n;
    }
  }

  /** Sends a message without NEED_REPLY and lets it be handled. */
  post(request: number, payload: Uint8Array = new Uint8Array(0), fds: readonly number[] = []): void {
    this.raw(frame(request, VERSION, payload), fds);
    this.pump();
  }

  /** Sends a message that has a reply of its own. */
  call(request: number, payload?: Uint8Array, fds?: readonly number[]): Reply {
    this.post(request, payload, fds);
    return this.receive();
  }

  /** The u64 that a message is answered with. */
  get(request: number, payload?: Uint8Array, fds?: readonly number[]): bigint {
    return number(this.call(request, payload, fds).payload);
  }

  /** Sends a message with NEED_REPLY; 0 is success. */
  ack(request: number, payload: Uint8Array = new Uint8Array(0), fds: readonly number[] = []): bigint {
    this.raw(frame(request, VERSION | NEED_REPLY, payload), fds);
    this.pump();
    const reply = this.receive();
    if (reply.request !== request || reply.payload.length !== 8)
      throw new Error(`no ack: ${JSON.stringify(reply)}`);
    return number(reply.payload);
  }

  receive(): Reply {
    const header = this.#read(12);
    const view = new DataView(header.bytes.buffer);
    const payload = this.#read(view.getUint32(8, true));
    return {
      request: view.getUint32(0, true),
      flags: view.getUint32(4, true),
      payload: payload.bytes,
      fds: [...header.fds, ...payload.fds],
    };
  }

  /** Nothing is there to be read. */
  get silent(): boolean {
    return receiveWithFds(this.fd, new Uint8Array(new ArrayBuffer(1))) === undefined;
  }

  /** The back-end has closed the connection. */
  get disconnected(): boolean {
    this.pump();
    return receiveWithFds(this.fd, new Uint8Array(new ArrayBuffer(1)))?.bytes === 0;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeFd(this.fd);
    this.pump();
  }

  #read(size: number): { bytes: Uint8Array; fds: number[] } {
    const bytes = new Uint8Array(new ArrayBuffer(size));
    const fds: number[] = [];
    for (let at = 0; at < size; ) {
      const got = receiveWithFds(this.fd, bytes.subarray(at));
      if (got === undefined || got.bytes === 0) throw new Error(got ? "disconnected" : "no reply");
      at += got.bytes;
      fds.push(...got.fds);
    }
    return { bytes, fds };
  }
}
