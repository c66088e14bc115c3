// A program that runs beside the scenario. Every one is stopped, by its pid, when the scenario ends.
import { join } from "node:path";
import { TextStream } from "./text-stream.ts";
import { until } from "./until.ts";

export const logFolder = process.env["LAB_LOGS"] ?? "/logs";

const running = new Set<Program>();
const named = new Map<string, number>();

const STOP_SECONDS = 120;

export class Program {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  /** Resolves to the exit code, 128 + n when signal n ended it, once all that it said has arrived. */
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;

  constructor(
    readonly name: string,
    readonly argv: string[],
    env: Record<string, string> = {},
  ) {
    // A second program of the same name logs beside the first.
    const times = (named.get(name) ?? 0) + 1;
    named.set(name, times);
    const log = join(logFolder, times === 1 ? name : `${name}-${times}`);
    this.stdout = new TextStream(name, log + ".log");
    this.stderr = new TextStream(`${name}'s stderr`, log + ".err.log");
    console.log("$", argv.join(" "), "&");
    this.#child = Bun.spawn(argv, {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, ...env },
    });
    running.add(this);
    const outputs = [pump(this.#child.stdout, this.stdout), pump(this.#child.stderr, this.stderr)];
    this.exited = Promise.all(outputs).then(() => this.#child.exited);
    void this.#child.exited.then((code) => {
      console.log(name, "ended with", this.#child.signalCode ?? code);
      if (code !== 0) console.log(this.stderr.text.slice(-2000));
      running.delete(this);
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  send(text: string): void {
    this.#child.stdin.write(text);
    this.#child.stdin.flush();
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends it with SIGTERM, or SIGKILL when that does not help. Returns the exit code. */
  async stop(): Promise<number> {
    if (this.alive) this.signal("SIGTERM");
    try {
      await until(`${this.name} to end`, () => !this.alive, STOP_SECONDS);
    } catch (error) {
      console.log(String(error));
      this.signal("SIGKILL");
    }
    return this.exited;
  }
}

async function pump(from: ReadableStream<Uint8Array>, to: TextStream): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of from) to.push(decoder.decode(bytes, { stream: true }));
  to.close();
}

export async function stopPrograms(): Promise<void> {
  // The last one started depends on the earlier ones.
  for (const program of [...running].reverse()) await program.stop();
}
