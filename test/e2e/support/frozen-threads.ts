import { dlopen, FFIType } from "bun:ffi";
import { readdirSync, readFileSync } from "node:fs";

const { i32, i64, u64 } = FFIType;
const { symbols: libc } = dlopen("libc.so.6", {
  ptrace: { args: [i64, i32, u64, u64], returns: i64 },
});

const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const PATIENCE_MS = 20_000;

/** The numbers of epoll_wait, epoll_pwait and epoll_pwait2. */
const EPOLL_CALLS = process.arch === "x64" ? ["232", "281", "441"] : ["22", "441"];

/**
 * Worker threads of a child process that stand still (ptrace(2)) while its main thread goes on. Each was caught asleep in
 * epoll_wait: elsewhere it may hold a lock of the runtime's, for which the main thread would wait too.
 */
export class FrozenThreads {
  private constructor(private threads: readonly number[]) {}

  static freeze(pid: number): FrozenThreads {
    const tasks = readdirSync(`/proc/${pid}/task`).map(Number);
    const workers = tasks.filter((tid) => commandOf(pid, tid) === "Worker");
    if (workers.length === 0) throw new Error(`process ${pid} has no worker threads`);
    const end = performance.now() + PATIENCE_MS;
    const all = (what: string, are: (tid: number) => boolean) => {
      while (!workers.every(are)) if (performance.now() > end) throw new Error(`the threads do not ${what}`);
    };
    for (;;) {
      all("sleep", (tid) => sleeps(pid, tid));
      for (const tid of workers) {
        ptrace(PTRACE_SEIZE, tid);
        ptrace(PTRACE_INTERRUPT, tid);
      }
      const frozen = new FrozenThreads(workers);
      all("stop", (tid) => isStopped(pid, tid));
      if (workers.every((tid) => sleeps(pid, tid))) return frozen;
      frozen.release();
    }
  }

  /** Lets them go on; a second call does nothing. */
  release(): void {
    for (const tid of this.threads) ptrace(PTRACE_DETACH, tid);
    this.threads = [];
  }
}

function ptrace(request: number, tid: number): void {
  if (libc.ptrace(request, tid, 0n, 0n) < 0n) throw new Error(`ptrace ${request} of thread ${tid} failed`);
}

const commandOf = (pid: number, tid: number) => readFileSync(`/proc/${pid}/task/${tid}/comm`, "utf8").trim();
/** Whether a thread, stopped or not, is in epoll_wait. */
const sleeps = (pid: number, tid: number) =>
  EPOLL_CALLS.includes(readFileSync(`/proc/${pid}/task/${tid}/syscall`, "utf8").split(" ")[0]!);
const isStopped = (pid: number, tid: number) => {
  const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("t");
};
