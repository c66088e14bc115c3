import { MessageChannel, type MessagePort } from "node:worker_threads";
import { createEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import { fromPlain, type WorkerCommand, type WorkerReport } from "./messages.ts";

type Unnumbered<Command> = Command extends { id: number } ? Omit<Command, "id"> : never;
type Answer = Extract<WorkerReport, { event: "answer" }>;

/** The main thread's end of the way to a serving thread (the other is CommandInbox). */
export class CommandChannel {
  /** For the worker's data. */
  readonly fd = createEventfd();
  readonly remotePort: MessagePort;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #lastId = 0;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.remotePort = port2;
    // The channel alone is no reason for the process to stay.
    this.#port.unref();
  }

  /** Resolves with what the worker answers; rejects with its OperatorError. */
  ask(command: Unnumbered<WorkerCommand>): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => (error ? reject(fromPlain(error)) : resolve(result)));
      this.#port.postMessage({ ...command, id });
      signalEventfd(this.fd);
    });
  }

  /** An answer has come. */
  settle(answer: Answer): void {
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }
}
