import { EPOLLIN, EPOLLOUT, EventLoop } from "../hw/ffi/event-loop.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import { receiveWithFds, sendWithFds } from "../hw/ffi/fd-passing.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { vhost_user_header } from "./messages.ts";
import { PassedFds } from "./passed-fds.ts";
import { FDS_MAX, PAYLOAD_MAX, requestName } from "./protocol.ts";

export interface Message {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly fds: PassedFds;
}

export interface ConnectionEvents {
  /** Handles one message to its end; it need not close the fds. What it throws closes the connection. */
  onMessage(message: Message): void;
  /** The connection is over and its fd closed; `reason` is undefined when the peer closed between messages. */
  onClose(reason: Error | undefined): void;
}

/** How long a peer may leave its receive buffer full before it is given up. */
const SEND_TIMEOUT_MS = 5000;
/** Messages served before other events of the loop get their turn. */
const BATCH = 64;

const broken = (what: string) => new OperatorError(what, { kind: "protocol" });

/**
 * Framing on a stream socket, for either channel. Reads exactly one header, then exactly its payload, so that fds
 * are never taken for those of a neighbouring message: they belong to the message with whose bytes they came.
 */
export class Connection {
  readonly #header = new Uint8Array(new ArrayBuffer(vhost_user_header.size));
  #payload: Uint8Array | undefined;
  #received = 0;
  #fds: number[] = [];
  #open = true;

  /** Takes over the fd, a non-blocking socket. */
  constructor(
    private readonly loop: EventLoop,
    private readonly fd: number,
    private readonly events: ConnectionEvents,
    /** Names of the channel's messages. */
    private readonly nameOf: (request: number) => string = requestName,
  ) {
    loop.add(fd, EPOLLIN, () => this.serve());
  }

  get open(): boolean {
    return this.#open;
  }

  /** Handles messages that have arrived, at most `limit`. */
  serve(limit = BATCH): void {
    for (let handled = 0; this.#open && handled < limit; ) {
      const part = this.#payload ?? this.#header;
      if (part.byteLength > this.#received && !this.#receiveInto(part)) return;
      if (this.#received < part.byteLength) continue;
      if (this.#payload === undefined) this.#startPayload();
      if (this.#open && this.#payload && this.#received === this.#payload.byteLength) {
        this.#deliver(this.#payload);
        handled++;
      }
    }
  }

  /** Sends a message whole. Waits a bounded time for room; `wait: false` gives up at once. */
  send(request: number, flags: number, payload: Uint8Array, fds: readonly number[] = [], wait = true): void {
    const bytes = new Uint8Array(new ArrayBuffer(vhost_user_header.size + payload.byteLength));
    vhost_user_header.write(bytes, { request, flags, size: payload.byteLength });
    bytes.set(payload, vhost_user_header.size);
    for (let sent = 0; sent < bytes.byteLength; ) {
      const n = sendWithFds(this.fd, bytes.subarray(sent), sent === 0 ? fds : []);
      if (n !== undefined) sent += n;
      else if (!wait || !this.#waitForRoom()) {
        throw new OperatorError(`sending ${this.nameOf(request)}`, {
          why: `the peer has not read its socket${wait ? ` for ${SEND_TIMEOUT_MS / 1000} s` : ""}`,
          kind: "protocol",
        });
      }
    }
  }

  /** Closes the fd; `onClose` is called once. */
  close(reason?: Error): void {
    if (!this.#open) return;
    this.#open = false;
    this.loop.remove(this.fd);
    closeFd(this.fd);
    for (const fd of this.#fds.splice(0)) closeFd(fd);
    this.events.onClose(reason);
  }

  /** False when nothing more is there now, or ever. */
  #receiveInto(part: Uint8Array): boolean {
    let got: ReturnType<typeof receiveWithFds>;
    try {
      got = receiveWithFds(this.fd, part.subarray(this.#received));
    } catch (error) {
      this.close(error as Error);
      return false;
    }
    if (got === undefined) return false;
    this.#fds.push(...got.fds);
    if (got.truncated) {
      this.close(broken("file descriptors were lost on the way (too many, or none left in this process)"));
    } else if (this.#fds.length > FDS_MAX) {
      this.close(broken(`${this.#fds.length} file descriptors in one message; ${FDS_MAX} are allowed`));
    } else if (got.bytes === 0) {
      const midway = this.#received > 0 || this.#payload !== undefined;
      this.close(midway ? broken("the peer closed in the middle of a message") : undefined);
    }
    this.#received += got.bytes;
    return this.#open;
  }

  #startPayload(): void {
    const { request, size } = vhost_user_header.read(this.#header);
    if (size > PAYLOAD_MAX) {
      const what = `${this.nameOf(request)} announces a payload of ${size} bytes`;
      this.close(broken(`${what}; ${PAYLOAD_MAX} are allowed`));
      return;
    }
    this.#payload = new Uint8Array(new ArrayBuffer(size));
    this.#received = 0;
  }

  #deliver(payload: Uint8Array): void {
    const { request, flags } = vhost_user_header.read(this.#header);
    const fds = new PassedFds(this.#fds.splice(0));
    this.#payload = undefined;
    this.#received = 0;
    try {
      this.events.onMessage({ request, flags, payload, fds });
    } catch (error) {
      this.close(error as Error);
    } finally {
      fds.closeRest();
    }
  }

  #waitForRoom(): boolean {
    const waiter = new EventLoop();
    try {
      waiter.add(this.fd, EPOLLOUT, () => {});
      return waiter.runOnce(SEND_TIMEOUT_MS) > 0;
    } finally {
      waiter.close();
    }
  }
}
