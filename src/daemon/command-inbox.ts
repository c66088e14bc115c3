import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { drainEventfd } from "../hw/ffi/eventfd.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { Later } from "./later.ts";
import { toPlain, type WorkerCommand, type WorkerReport } from "./messages.ts";

/**
 * What carries a command out, by its name. It returns what the answer says, as plain data or later, or throws. Not
 * every device can do everything.
 */
export type CommandTable = {
  readonly [Op in WorkerCommand["op"]]?: (command: Extract<WorkerCommand, { op: Op }>) => unknown;
};

/**
 * Commands of the main thread, taken by a thread that blocks in the kernel: they wait in a port, and an eventfd says
 * that there are some. Each is carried out and answered before the next, unless its answer is to come later.
 */
export class CommandInbox {
  constructor(
    private readonly port: MessagePort,
    private readonly commandFd: number,
    private readonly loop: EventLoop,
    private readonly table: CommandTable,
    private readonly report: (message: WorkerReport) => void,
  ) {
    loop.add(commandFd, EPOLLIN, () => this.#take());
  }

  close(): void {
    this.loop.remove(this.commandFd);
    this.port.close();
  }

  #take(): void {
    drainEventfd(this.commandFd);
    for (;;) {
      const received = receiveMessageOnPort(this.port) as { message: WorkerCommand } | undefined;
      if (!received) return;
      this.#carryOut(received.message);
    }
  }

  #carryOut(command: WorkerCommand): void {
    const run = this.table[command.op] as ((command: WorkerCommand) => unknown) | undefined;
    this.#answer(command.id, () => {
      if (!run) throw new OperatorError(`this device can not do "${command.op}"`, { kind: "not-ready" });
      return run(command);
    });
  }

  #answer(id: number, outcome: () => unknown): void {
    try {
      const result = outcome();
      if (result instanceof Later) result.whenSettled((settled) => this.#answer(id, settled));
      else this.report({ event: "answer", id, result });
    } catch (error) {
      this.report({ event: "answer", id, error: toPlain(error) });
    }
  }
}
