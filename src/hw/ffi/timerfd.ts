import { checked } from "./errno.ts";
import { O_CLOEXEC, O_NONBLOCK } from "./fd.ts";
import { libc } from "./libc.ts";
import { struct, u64 } from "./struct.ts";

const CLOCK_MONOTONIC = 1;

export const itimerspec = struct("itimerspec", {
  interval_sec: u64,
  interval_nsec: u64,
  value_sec: u64,
  value_nsec: u64,
});

/** A disarmed monotonic timer; the caller owns the fd. */
export function createTimerfd(): number {
  return checked(libc.timerfd_create(CLOCK_MONOTONIC, O_CLOEXEC | O_NONBLOCK), "timerfd_create");
}

/** Arms a timer to fire once after `ms` milliseconds; 0 disarms it. */
export function armTimerfd(fd: number, ms: number): void {
  const value = itimerspec.alloc({
    value_sec: BigInt(Math.floor(ms / 1000)),
    value_nsec: BigInt(Math.round((ms % 1000) * 1e6)),
  });
  checked(libc.timerfd_settime(fd, 0, value, null), "timerfd_settime");
}

export const timespec = struct("timespec", { sec: u64, nsec: u64 });

/** Microseconds on CLOCK_MONOTONIC, which all processes share. */
export function monotonicMicroseconds(): bigint {
  const now = timespec.alloc({});
  checked(libc.clock_gettime(CLOCK_MONOTONIC, now), "clock_gettime");
  const { sec, nsec } = timespec.read(now);
  return sec * 1_000_000n + nsec / 1000n;
}
