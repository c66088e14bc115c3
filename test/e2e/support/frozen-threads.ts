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

/** Worker threads of a child process that stand still (ptrace(2)) while its main thread goes on. */
export class FrozenThreads {
  private constructor(private threads: readonly number[]) {}

  static freeze(pid: number): FrozenThreads {
    const tasks = readdirSync(`/proc/${pid}/task`).map(Number);
    const workers = tasks.filter((tid) => commandOf(pid, tid) === "Worker");
    if (workers.length === 0) throw new Error(`process ${pid} has no worker threads`);
    for (const tid of workers) {
      ptrace(PTRACE_SEIZE, tid);
      ptrace(PTRACE_INTERRUPT, tid);
    }
    for (const end = performance.now() + PATIENCE_MS; !workers.every((tid) => isStopped(pid, tid)); ) {
      if (performance.now() > end) throw new Error("the threads do not stop");
    }
    return new FrozenThreads(workers);
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
const isStopped = (pid: number, tid: number) => {
  const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("t");
};
