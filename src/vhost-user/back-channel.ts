import type { Log } from "../hw/log.ts";
import type { Connection, Message } from "./connection.ts";
import { vhost_user_u64 } from "./messages.ts";
import { backendRequestName, FLAG_NEED_REPLY, FLAG_REPLY, VERSION, VERSION_MASK } from "./protocol.ts";
import { type ChannelPlace, openConnection } from "./trace/open-connection.ts";

/** Told whether the front-end did what was asked; false also when the channel ended before it answered. */
export type Answered = (ok: boolean, reason: string) => void;

/** Most requests without an answer: a peer that never replies must not make us collect for ever. */
const PENDING_MAX = 1024;

/**
 * The channel for our own requests (SET_BACKEND_REQ_FD). Nothing here waits: a request that finds no room, and
 * anything unexpected from the peer, closes this channel with one log line and leaves the session alone.
 */
export class BackChannel {
  readonly #connection: Connection;
  readonly #pending: { readonly request: number; readonly answered: Answered }[] = [];
  #closing = false;

  /** Takes over the fd, a connected stream socket. */
  constructor(
    place: ChannelPlace,
    fd: number,
    private readonly log: Log,
  ) {
    this.#connection = openConnection("back", place, fd, {
      onMessage: (message) => this.#onReply(message),
      onClose: (reason) => this.#onClose(reason),
    });
  }

  get open(): boolean {
    return this.#connection.open;
  }

  /** Sends a request; the fds stay the caller's. With `answered` a reply is asked for and told later. */
  request(request: number, payload: Uint8Array, fds: readonly number[], answered?: Answered): void {
    if (!this.open) {
      answered?.(false, "the back channel is closed");
      return;
    }
    const flags = VERSION | (answered ? FLAG_NEED_REPLY : 0);
    if (answered) this.#pending.push({ request, answered });
    try {
      if (this.#pending.length > PENDING_MAX) throw new Error(`${PENDING_MAX} requests without an answer`);
      this.#connection.send(request, flags, payload, fds, false);
    } catch (error) {
      this.#connection.close(error as Error);
    }
  }

  close(): void {
    this.#closing = true;
    this.#connection.close();
  }

  #onReply({ request, flags, payload }: Message): void {
    const pending = this.#pending.shift();
    if ((flags & VERSION_MASK) !== VERSION || (flags & FLAG_REPLY) === 0) {
      throw new Error(`a message with flags 0x${flags.toString(16)} where only replies may come`);
    }
    if (pending?.request !== request)
      throw new Error(`a reply to ${backendRequestName(request)} that nobody asked for`);
    if (payload.byteLength < vhost_user_u64.size) throw new Error(`a reply of ${payload.byteLength} bytes`);
    const { u64 } = vhost_user_u64.read(payload);
    pending.answered(u64 === 0n, `it answered ${u64}`);
  }

  #onClose(error: Error | undefined): void {
    const reason = error?.message ?? "by the front-end";
    if (!this.#closing)
      this.log.warn(`back channel closed: ${reason}`, { event: "back_channel_closed", reason });
    for (const { answered } of this.#pending.splice(0)) answered(false, "the back channel was closed");
  }
}
