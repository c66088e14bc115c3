import type { EventLoop } from "../hw/ffi/event-loop.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { Trace } from "../hw/trace.ts";
import type { VdpaDevice } from "../vdpa/vdpa-device.ts";
import type { Connection, Message } from "./connection.ts";
import { describeRefusal, dispatch } from "./dispatch.ts";
import { FLAG_REPLY, requestName, VERSION } from "./protocol.ts";
import { Session } from "./session.ts";
import { openConnection } from "./trace/open-connection.ts";

/** Counters that a front-end's messages move. */
export type CounterName = "connections" | "refused_connections" | "messages" | "refused_messages";

export interface CounterSink {
  add(name: CounterName, n?: number): void;
}

export interface FrontEndContext {
  readonly loop: EventLoop;
  /** Read anew each time: a guest may move to another one. */
  device: VdpaDevice;
  readonly log: Log;
  readonly counters: CounterSink;
  /** Is told of each message; undefined where nobody wants to know. */
  readonly trace?: Trace | undefined;
  /** What a front-end has set up, memory included, is about to change. */
  readonly onChange?: (() => void) | undefined;
  /** A message, by its name, was not carried out. */
  readonly onRefused?: ((message: string) => void) | undefined;
}

/** `why` is undefined when the front-end closed its connection between two messages. */
type FrontEndGone = (frontEnd: FrontEnd, why: Error | undefined) => void;

/** One connected front-end: its connection and its session, from the first message to the clean end of both. */
export class FrontEnd {
  readonly session: Session;
  readonly connection: Connection;
  /** Messages handled so far. */
  messages = 0;
  /** The message over which the connection ends. */
  #fatal: string | undefined;
  readonly #onGone: FrontEndGone;

  /** Takes over the fd. `onGone` is called once, when the device is reset and everything is closed. */
  constructor(
    private readonly context: FrontEndContext,
    fd: number,
    onGone: FrontEndGone,
  ) {
    this.#onGone = onGone;
    context.onChange?.();
    context.device.prepare();
    this.session = new Session(context, context.log, context.loop, context.trace);
    this.connection = openConnection("main", this.session, fd, {
      onMessage: (message) => this.#onMessage(message),
      onClose: (reason) => this.#onClose(reason),
    });
  }

  close(): void {
    this.connection.close();
  }

  #onMessage(message: Message): void {
    const { counters, log } = this.context;
    this.messages++;
    counters.add("messages");
    this.context.onChange?.();
    const outcome = dispatch(this.session, message);
    if (outcome.refused !== undefined) {
      counters.add("refused_messages");
      this.context.onRefused?.(requestName(message.request));
      const line = describeRefusal(message.request, outcome.refused);
      // What is no OperatorError is a mistake of ours: say where.
      if (!(outcome.refused instanceof OperatorError)) {
        const stack = (outcome.refused as Error)?.stack ?? "";
        log.debug(stack, { event: "internal_error", stack });
      }
      const name = requestName(message.request);
      if (outcome.disconnect) {
        this.#fatal = name;
        const { refused } = outcome;
        const kind = refused instanceof OperatorError ? refused.kind : undefined;
        this.connection.close(new OperatorError(line, { kind, cause: refused }));
        return;
      }
      log.warn(line, { event: "message_refused", message: name, error: messageOf(outcome.refused) });
    }
    if (outcome.reply) this.connection.send(message.request, VERSION | FLAG_REPLY, outcome.reply);
  }

  #onClose(error: Error | undefined): void {
    const { log } = this.context;
    this.context.onChange?.();
    try {
      this.session.close();
    } catch (error) {
      log.error(`closing the front-end's session: ${messageOf(error)}`, {
        event: "cleanup_failed",
        error: messageOf(error),
      });
    }
    const event = "front_end_disconnected";
    const reason = error?.message;
    if (reason) log.warn(`front-end disconnected: ${reason}`, { event, reason, message: this.#fatal });
    else log.info("front-end disconnected", { event });
    this.#onGone(this, error);
  }
}
