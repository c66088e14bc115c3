import type { EventLoop } from "../../hw/ffi/event-loop.ts";
import { Connection, type ConnectionEvents } from "../connection.ts";
import type { MessageTrace } from "./message-trace.ts";

/** A connection that tells of each message before it is handled, and of each answer before it is sent. */
export class TracedConnection extends Connection {
  readonly #trace: MessageTrace;

  constructor(
    loop: EventLoop,
    fd: number,
    events: ConnectionEvents,
    nameOf: (request: number) => string,
    trace: MessageTrace,
  ) {
    const onMessage: ConnectionEvents["onMessage"] = (message) => {
      const { request, flags, payload, fds } = message;
      trace.tell({ direction: "in", request, flags, payload, fds: fds.count });
      events.onMessage(message);
    };
    super(loop, fd, { onMessage, onClose: (reason) => events.onClose(reason) }, nameOf);
    this.#trace = trace;
  }

  override send(
    request: number,
    flags: number,
    payload: Uint8Array,
    fds: readonly number[] = [],
    wait = true,
  ): void {
    this.#trace.tell({ direction: "out", request, flags, payload, fds: fds.length });
    super.send(request, flags, payload, fds, wait);
  }
}
