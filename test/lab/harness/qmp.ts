// A client of QEMU's machine protocol: one JSON record a line; answers come in order, events in between.

interface Waiter {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Incoming {
  event?: string;
  timestamp?: { seconds: number; microseconds: number };
  error?: { desc: string };
  return?: unknown;
  data?: unknown;
}

export class Qmp {
  /** Times in milliseconds of Unix time. */
  readonly events: Array<{ event: string; time: number; data?: unknown }> = [];
  readonly #waiting: Waiter[] = [];
  readonly #decoder = new TextDecoder();
  #rest = "";
  #socket: Bun.Socket | undefined;

  static async connect(path: string): Promise<Qmp> {
    const client = new Qmp();
    const greeting = new Promise((resolve, reject) => client.#waiting.push({ resolve, reject }));
    client.#socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_, bytes) => client.#take(bytes),
        close: () => client.#fail("QEMU closed the connection"),
        error: (_, error) => client.#fail(error.message),
      },
    });
    await greeting;
    await client.execute("qmp_capabilities");
    return client;
  }

  execute(command: string, args: object = {}): Promise<unknown> {
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#socket?.write(JSON.stringify({ execute: command, arguments: args }) + "\n");
    return answer;
  }

  close(): void {
    this.#socket?.end();
  }

  #take(bytes: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") this.#record(JSON.parse(line));
  }

  #record(record: Incoming): void {
    if (record.event !== undefined) {
      const { seconds, microseconds } = record.timestamp ?? { seconds: 0, microseconds: 0 };
      this.events.push({
        event: record.event,
        time: 1000 * seconds + microseconds / 1000,
        data: record.data,
      });
      return;
    }
    const waiter = this.#waiting.shift();
    if (record.error === undefined) waiter?.resolve(record.return);
    else waiter?.reject(new Error(record.error.desc));
  }

  #fail(reason: string): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(new Error(reason));
  }
}
