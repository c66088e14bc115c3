// What a process holds, read from /proc.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { TimedOut, until } from "./until.ts";

export interface Footprint {
  /** Open file descriptors. */
  fds: number;
  /** Mappings of memfds and huge pages, such as a front-end's memory. */
  shared_mappings: number;
  /** KiB that are pinned for DMA: the kernel counts them as locked with containers, as pinned with iommufd. */
  locked_kib: number;
}

const status = (pid: number) => readFileSync(`/proc/${pid}/status`, "utf8");

function statusNumber(text: string, key: string): number {
  const found = text.match(new RegExp(`^${key}:\\s+(\\d+)`, "m"))?.[1];
  if (found === undefined) throw new Error(`/proc shows no ${key}`);
  return Number(found);
}

export function footprint(pid: number): Footprint {
  const maps = readFileSync(`/proc/${pid}/maps`, "utf8").split("\n");
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    shared_mappings: maps.filter((line) => /memfd:|hugepages|\/dev\/shm/.test(line)).length,
    locked_kib: statusNumber(status(pid), "VmLck") + statusNumber(status(pid), "VmPin"),
  };
}

/** Looks in a row that have to be alike: a process may open a file for a moment at any time. */
const ALIKE = 3;

/** What a process holds that has nothing to do. */
export async function restingFootprint(pid: number): Promise<Footprint> {
  let last: Footprint | undefined;
  let alike = 0;
  return await until(`process ${pid} to hold the same for a while`, () => {
    const now = footprint(pid);
    alike = isDeepStrictEqual(now, last) ? alike + 1 : 1;
    last = now;
    return alike >= ALIKE && now;
  });
}

/** What a process holds once that is `rest` again, or after waiting for it in vain. */
export async function footprintAgain(pid: number, rest: Footprint): Promise<Footprint> {
  let last = footprint(pid);
  const isRest = () => {
    last = footprint(pid);
    return isDeepStrictEqual(last, rest);
  };
  await until(`process ${pid} to hold what it held`, isRest, 30).catch((error) => {
    if (!(error instanceof TimedOut)) throw error;
    console.log(String(error));
  });
  return last;
}

/** KiB of memory that belongs to the process alone. */
export function privateKib(pid: number): number {
  return statusNumber(readFileSync(`/proc/${pid}/status`, "utf8"), "RssAnon");
}

/** epoll_wait on x86-64: what the serving thread sleeps in. The runtime's own threads sleep in other calls. */
const EPOLL_WAIT = "232";

/** The threads of a process that sleep in epoll_wait. */
export function sleepingInEpoll(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .filter((tid) => readFileSync(`/proc/${pid}/task/${tid}/syscall`, "utf8").split(" ")[0] === EPOLL_WAIT);
}

/** How often a thread has gone to sleep of its own accord. */
export function voluntarySwitches(pid: number, tid: number): number {
  return statusNumber(readFileSync(`/proc/${pid}/task/${tid}/status`, "utf8"), "voluntary_ctxt_switches");
}

/** What a process's fds of one kind point to, such as "anon_inode:[eventfd]". */
export function fdTargets(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}
