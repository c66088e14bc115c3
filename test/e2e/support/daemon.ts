import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { eventually } from "../../support/front-end/wait.ts";
import { type Ran, runToEnd } from "./run-to-end.ts";

/** The compiled binary under test. */
export const BINARY = resolve(process.env["VDPACTL_BIN"] ?? join(import.meta.dir, "../../../dist/vdpactl"));

// BUN_OPTIONS and BUN_BE_BUN would reach into a compiled binary.
const { BUN_OPTIONS: _options, BUN_BE_BUN: _be, ...ENVIRONMENT } = process.env;

/** Time for anything that a daemon does once, on a machine five times slower than ours. */
export const ONCE_MS = 20_000;

export interface DaemonOptions {
  /** Further arguments of `serve`. */
  readonly args?: readonly string[];
  /** Instead of `--sim`. */
  readonly device?: readonly string[];
  /** The line that says that it is ready; the first one that begins with READY when undefined. */
  readonly ready?: RegExp;
  /** Instead of `--socket PATH` with a path of our own. */
  readonly meeting?: readonly string[];
  /** Fd that the daemon finds as number 3, or those from 3 on. */
  readonly fd?: number | readonly number[];
  /** Where its control socket goes; a directory of its own when undefined. */
  readonly runtimeDirectory?: string;
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Started as by socket activation, with the fd that `fd` gives: LISTEN_PID is the daemon's. */
  readonly activated?: boolean;
  /** Where `--socket` is, when not in a directory of its own. */
  readonly socketPath?: string;
  /** Most open files the daemon may have. */
  readonly maxFiles?: number;
}

/** What a daemon holds. */
export interface Holdings {
  readonly fds: number;
  /** Maps of memory that front-ends gave. */
  readonly maps: number;
}

/** `vdpactl serve`, with a simulated device unless told otherwise, as a process of its own. */
export class Daemon {
  readonly log: string[] = [];
  readonly out: string[] = [];
  readonly #exit: Promise<number>;
  #code: number | undefined;
  readonly #clients: Bun.Subprocess[] = [];

  private constructor(
    readonly child: ChildProcess,
    readonly directory: string,
    readonly socketPath: string,
    readonly runtimeDirectory: string,
  ) {
    collectLines(child.stdout!, this.out);
    collectLines(child.stderr!, this.log);
    this.#exit = new Promise((done) => {
      child.on("error", (error) => {
        this.#code = 127;
        this.log.push(error.message);
        done(127);
      });
      child.on("exit", (code, signal) => {
        this.#code = code ?? 128;
        if (signal) this.log.push(`ended by ${signal}`);
      });
      // After "close" the pipes are read to their end too.
      child.on("close", (code) => done(code ?? 128));
    });
  }

  /** Starts one and waits until it is ready. */
  static async start(options: DaemonOptions = {}): Promise<Daemon> {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: scripts/build makes it`);
    const directory = mkdtempSync(join(tmpdir(), "vdpactl-"));
    const socketPath = options.socketPath ?? join(directory, "vhost.sock");
    const runtimeDirectory = options.runtimeDirectory ?? join(directory, "run");
    const meeting = options.meeting ?? ["--socket", socketPath];
    const command = [BINARY, "serve", ...(options.device ?? ["--sim"]), ...meeting, ...(options.args ?? [])];
    if (options.maxFiles) command.unshift("prlimit", `--nofile=${options.maxFiles}`);
    if (options.activated) command.unshift("sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh");
    const child = spawn(command[0]!, command.slice(1), {
      env: { ...ENVIRONMENT, ...options.env, VDPACTL_RUNTIME_DIR: runtimeDirectory },
      stdio: ["ignore", "pipe", "pipe", ...[options.fd ?? []].flat()],
    });
    const daemon = new Daemon(child, directory, socketPath, runtimeDirectory);
    try {
      await eventually(
        () => {
          if (!daemon.running)
            throw new Error(`vdpactl ended with ${daemon.#code}: ${daemon.log.join("\n")}`);
          return daemon.out.some((line) => (options.ready ?? /^READY/).test(line));
        },
        ONCE_MS,
        "READY",
      );
    } catch (error) {
      await daemon.dispose();
      throw error;
    }
    return daemon;
  }

  get pid(): number {
    return this.child.pid!;
  }

  get running(): boolean {
    return this.#code === undefined;
  }

  /** Throws with the end of the log when the daemon has ended. */
  assertAlive(): void {
    if (!this.running)
      throw new Error(`vdpactl ended with ${this.#code}:\n${this.log.slice(-20).join("\n")}`);
  }

  holdings(): Holdings {
    const fds = readdirSync(`/proc/${this.pid}/fd`).length;
    const maps = readFileSync(`/proc/${this.pid}/maps`, "utf8")
      .split("\n")
      .filter((line) => /\/memfd:guest-|\/dev\/shm\/guest-/.test(line)).length;
    return { fds, maps };
  }

  /** What it holds once two looks in a row agree. */
  async settledHoldings(): Promise<Holdings> {
    for (let last = this.holdings(); ; ) {
      await Bun.sleep(100);
      const now = this.holdings();
      if (now.fds === last.fds && now.maps === last.maps) return now;
      last = now;
    }
  }

  /** What its fds are, for messages. */
  fdKinds(): string[] {
    return readdirSync(`/proc/${this.pid}/fd`).map((fd) => {
      try {
        return `${fd} ${readlinkSync(`/proc/${this.pid}/fd/${fd}`)}`;
      } catch {
        return `${fd} gone`;
      }
    });
  }

  /** Waits until the daemon holds no more than this. */
  async backTo(rest: Holdings): Promise<void> {
    try {
      await eventually(
        () => {
          const { fds, maps } = this.holdings();
          return fds <= rest.fds && maps <= rest.maps;
        },
        ONCE_MS,
        "fds and maps given back",
      );
    } catch (error) {
      const now = this.holdings();
      throw new Error(
        `${now.fds} fds instead of ${rest.fds}, ${now.maps} maps instead of ${rest.maps}: ${this.fdKinds().join(", ")}`,
        { cause: error },
      );
    }
  }

  /** Waits for a log line written after `mark` lines. */
  async logged(pattern: RegExp, mark = 0): Promise<string> {
    try {
      return await eventually(() => this.log.slice(mark).find((line) => pattern.test(line)), ONCE_MS, "log");
    } catch (error) {
      throw new Error(`no log line like ${pattern} in:\n${this.log.slice(mark).join("\n")}`, {
        cause: error,
      });
    }
  }

  /** Lines since `mark` that complain, without what the simulated device says about itself. */
  complaints(mark = 0): string[] {
    return this.log
      .slice(mark)
      .filter((line) => /^(warning|error)/.test(line) && !/simulated device/.test(line));
  }

  /** Sends a signal and returns the exit code; kills a daemon that does not end. */
  stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    if (this.running) this.child.kill(signal);
    return this.ended();
  }

  /** The exit code of a daemon that ends by itself; one that does not is killed. */
  async ended(): Promise<number> {
    const late = setTimeout(() => this.child.kill("SIGKILL"), ONCE_MS);
    const code = await this.#exit;
    clearTimeout(late);
    return code;
  }

  /** Runs another `vdpactl` that finds this daemon. */
  ask(...args: readonly string[]): Promise<Ran> {
    return run(args, { VDPACTL_RUNTIME_DIR: this.runtimeDirectory });
  }

  /** The same, beside the test; it is ended with the daemon at the latest. */
  spawn(...args: readonly string[]): Bun.Subprocess<"ignore", "pipe", "pipe"> {
    const child = Bun.spawn([BINARY, ...args], {
      env: { ...ENVIRONMENT, VDPACTL_RUNTIME_DIR: this.runtimeDirectory },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#clients.push(child);
    return child;
  }

  /** The same with `--json`; throws unless it succeeds. */
  async askJson<T>(...args: readonly string[]): Promise<T> {
    const { code, out, err } = await this.ask(...args, "--json");
    if (code !== 0) throw new Error(`vdpactl ${args.join(" ")} ended with ${code}: ${err}`);
    return JSON.parse(out) as T;
  }

  get socketExists(): boolean {
    return existsSync(this.socketPath);
  }

  /** Ends what is left, whatever happened. */
  async dispose(): Promise<void> {
    for (const client of this.#clients) if (client.exitCode === null) client.kill("SIGKILL");
    await this.stop("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function collectLines(stream: NodeJS.ReadableStream, into: string[]): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    into.push(...lines);
  });
}

/** What `--timeout` allows a verb on top of all else. */
function askedToWaitMs(args: readonly string[]): number {
  const at = args.indexOf("--timeout");
  return at < 0 ? 0 : 1000 * Number(args[at + 1]);
}

/** Runs `vdpactl` to its end. */
export function run(args: readonly string[], more: Record<string, string> = {}): Promise<Ran> {
  const limitMs = ONCE_MS + askedToWaitMs(args);
  return runToEnd([BINARY, ...args], { env: { ...ENVIRONMENT, ...more }, limitMs });
}
