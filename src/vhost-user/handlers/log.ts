import { DirtyLog } from "../../memory/dirty-log.ts";
import { hex } from "../../memory/region.ts";
import { vhost_user_log } from "../messages.ts";
import type { PassedFds } from "../passed-fds.ts";
import type { Session } from "../session.ts";

type LogMessage = ReturnType<typeof vhost_user_log.read>;

/** Replaces the log as a whole. The reply repeats the payload: front-ends differ in what they want, all take this. */
export function setLogBase(session: Session, message: LogMessage, fds: PassedFds): Uint8Array {
  const log = DirtyLog.map(fds.at(0), message.mmap_size, message.mmap_offset);
  const { lastGpa } = session.device.memory;
  // It should cover the guest's memory; a page beyond it can never be reported as dirty.
  if (lastGpa >= 0n && !log.covers(lastGpa)) {
    session.logger.warn(
      `dirty log of ${hex(message.mmap_size)} bytes ends before the guest's last page at GPA ${hex(lastGpa)}`,
      { event: "dirty_log_short", log_bytes: Number(message.mmap_size), last_gpa: hex(lastGpa) },
    );
  }
  const old = session.log;
  const inUse = session.logging;
  session.log = log;
  try {
    session.updateLogging();
  } catch (error) {
    session.log = old;
    log.close();
    throw error;
  }
  // Only now has the old log heard of what relay threads could not mark in it.
  if (old && inUse) log.replace(old);
  old?.close();
  session.update();
  return vhost_user_log.alloc(message);
}

/** An eventfd to announce changes of the log, which no front-end needs; it is closed unused. */
export function setLogFd(): void {}
