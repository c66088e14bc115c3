import { MessageChannel, type MessagePort } from "node:worker_threads";
import { createEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { OperatorError } from "../hw/operator-error.ts";
import { fromPlain, type WorkerCommand, type WorkerReport } from "./messages.ts";

type Unnumbered<Command> = Command extends { id: number } ? Omit<Command, "id"> : never;
type Answer = Extract<WorkerReport, { event: "answer" }>;

/** The main thread's end of the way to a serving thread (the other is CommandInbox). */
export class CommandChannel {
  /** For the worker's data. */
  readonly fd = createEventfd();
  readonly remotePort: MessagePort;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, { settle: (answer: Answer) => void; fail: (error: Error) => void }>();
  #lastId = 0;
  #ended: OperatorError | undefined;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.remotePort = port2;
    // The channel alone is no reason for the process to stay.
    this.#port.unref();
  }

  /** Resolves with what the worker answers; rejects with its OperatorError. */
  ask(command: Unnumbered<WorkerCommand>): Promise<unknown> {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const settle = ({ result, error }: Answer) => (error ? reject(fromPlain(error)) : resolve(result));
      this.#waiting.set(id, { settle, fail: reject });
      this.#port.postMessage({ ...command, id });
      signalEventfd(this.fd);
    });
  }

  /** An answer has come. */
  settle(answer: Answer): void {
    this.#waiting.get(answer.id)?.settle(answer);
    this.#waiting.delete(answer.id);
  }

  /** There will be no more answers: what waits for one, and what is asked from now on, is rejected with the error. */
  end(error: OperatorError): void {
    this.#ended ??= error;
    for (const { fail } of this.#waiting.values()) fail(this.#ended);
    this.#waiting.clear();
  }

  /** Frees it, after `end`. The worker must be gone. */
  close(): void {
    this.#port.close();
    closeFd(this.fd);
  }
}
