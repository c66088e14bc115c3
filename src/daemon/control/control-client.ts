import { rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { isErrno } from "../../hw/ffi/errno.ts";
import { messageOf, OperatorError } from "../../hw/operator-error.ts";
import { CONTROL_VERSION, type ControlRequest, parseAnswer } from "./protocol.ts";

/** Longest answer in characters; a state of 257 queues takes a fraction of it. */
const ANSWER_MAX = 16 << 20;

type Unversioned<Request> = Request extends unknown ? Omit<Request, "v"> : never;
export type Ask = Unversioned<ControlRequest>;

interface Waiting {
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

/** A connection to one daemon's control socket. Requests are answered in the order in which they are made. */
export class ControlClient {
  readonly #waiting: Waiting[] = [];
  #text = "";
  #lost: Error | undefined;

  private constructor(
    readonly pid: number,
    private readonly socket: Socket,
  ) {
    socket.setEncoding("utf8");
    socket.on("data", (text) => this.#receive(String(text)));
    const lost = () =>
      this.#end(new OperatorError(`the daemon with pid ${pid} has gone`, { remedy: "look into its log" }));
    socket.on("error", lost);
    socket.on("close", lost);
  }

  /**
   * Connects to the daemon of this process id. Undefined when it is dead, in which case its socket is removed.
   * @throws OperatorError when this user may not
   */
  static async connect({ pid, path }: { pid: number; path: string }): Promise<ControlClient | undefined> {
    const socket = connect(path);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      });
    } catch (error) {
      socket.destroy();
      if (isErrno(error, "ENOENT")) return undefined;
      if (isErrno(error, "ECONNREFUSED")) {
        rmSync(path, { force: true });
        return undefined;
      }
      throw new OperatorError(`the daemon with pid ${pid} can not be reached`, {
        why: messageOf(error),
        remedy: isErrno(error, "EACCES", "EPERM") ? "run as root, or as the user that runs it" : undefined,
        kind: "not-ready",
        cause: error,
      });
    }
    socket.removeAllListeners();
    return new ControlClient(pid, socket);
  }

  /**
   * The result of a request.
   * @throws the daemon's OperatorError, or one that says that no answer came in time; the signal's reason
   */
  async ask(
    request: Ask,
    { limitMs = 40_000, signal }: { limitMs?: number; signal?: AbortSignal } = {},
  ): Promise<unknown> {
    if (this.#lost) throw this.#lost;
    signal?.throwIfAborted();
    let late: ReturnType<typeof setTimeout> | undefined;
    let abort: (() => void) | undefined;
    try {
      const line = await new Promise<string>((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
        late = setTimeout(() => {
          reject(
            new OperatorError(`the daemon with pid ${this.pid} does not answer`, {
              why: `for ${limitMs / 1000} s`,
              remedy: "look into its log; vdpactl stats shows what it serves",
            }),
          );
          this.close();
        }, limitMs);
        abort = () => reject(signal!.reason);
        signal?.addEventListener("abort", abort, { once: true });
        this.socket.write(`${JSON.stringify({ v: CONTROL_VERSION, ...request })}\n`);
      });
      return parseAnswer(line);
    } finally {
      clearTimeout(late);
      if (abort) signal?.removeEventListener("abort", abort);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  #receive(text: string): void {
    const lines = (this.#text + text).split("\n");
    this.#text = lines.pop()!;
    for (const line of lines) this.#waiting.shift()?.resolve(line);
    if (this.#text.length <= ANSWER_MAX) return;
    this.#end(new OperatorError("the daemon's answer has no end"));
    this.close();
  }

  #end(error: Error): void {
    this.#lost ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#lost);
  }
}
