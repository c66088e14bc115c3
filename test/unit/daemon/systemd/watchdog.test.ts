import { expect, test } from "bun:test";
import { Watchdog, watchdogPeriodMs } from "../../../../src/daemon/systemd/watchdog.ts";

/** A thread whose answers come when the test says so. */
class Thread {
  pings = 0;
  steps = 0;
  #answers: ((error?: Error) => void)[] = [];

  ping = () => {
    this.pings++;
    return new Promise<void>((resolve, reject) =>
      this.#answers.push((error) => (error ? reject(error) : resolve())),
    );
  };
  beats = () => this.steps;

  async answer(error?: Error): Promise<void> {
    for (const done of this.#answers.splice(0)) done(error);
    // Lets the callbacks of the promise run.
    await Promise.resolve();
    await Promise.resolve();
  }
}

function watch(count: number) {
  const threads = Array.from({ length: count }, () => new Thread());
  const counted = { fed: 0 };
  const watchdog = new Watchdog(
    () => threads,
    () => counted.fed++,
  );
  return { threads, counted, watchdog };
}

test("it is fed once for each answer", async () => {
  const { threads, counted, watchdog } = watch(1);
  for (let round = 1; round <= 3; round++) {
    watchdog.look();
    expect(counted.fed).toBe(round - 1);
    await threads[0]!.answer();
    expect(counted.fed).toBe(round);
  }
});

test("a thread that hangs is asked once, and not fed for", async () => {
  const { threads, counted, watchdog } = watch(1);
  for (let look = 0; look < 10; look++) watchdog.look();
  expect({ ...counted, pings: threads[0]!.pings }).toEqual({ fed: 0, pings: 1 });
  await threads[0]!.answer();
  expect(counted.fed).toBe(1);
});

test("all threads must be alive", async () => {
  const { threads, counted, watchdog } = watch(3);
  for (let round = 0; round < 5; round++) {
    watchdog.look();
    await threads[0]!.answer();
    await threads[2]!.answer();
  }
  expect(counted.fed).toBe(0);
  await threads[1]!.answer();
  expect(counted.fed).toBe(1);
});

test("a long step that gets on counts as life, one that stands still does not", () => {
  const { threads, counted, watchdog } = watch(1);
  watchdog.look();
  for (let step = 1; step <= 4; step++) {
    threads[0]!.steps++;
    watchdog.look();
    expect(counted.fed).toBe(step);
  }
  watchdog.look();
  watchdog.look();
  expect(counted.fed).toBe(4);
});

test("a thread that has gone is waited for no longer, and its late answer feeds nothing", async () => {
  const { threads, counted, watchdog } = watch(2);
  watchdog.look();
  await threads[0]!.answer();
  expect(counted.fed).toBe(0);
  const [gone] = threads.splice(1);
  watchdog.look();
  expect(counted.fed).toBe(1);
  await gone!.answer();
  expect(counted.fed).toBe(1);
  await threads[0]!.answer();
  expect(counted.fed).toBe(2);
});

test("a thread that has come must be alive too", async () => {
  const { threads, counted, watchdog } = watch(1);
  const late = new Thread();
  threads.push(late);
  watchdog.look();
  await threads[0]!.answer();
  expect({ ...counted, pings: late.pings }).toEqual({ fed: 0, pings: 1 });
  await late.answer();
  expect(counted.fed).toBe(1);
});

test("without a thread, the main thread's life is enough", () => {
  const { counted, watchdog } = watch(0);
  watchdog.look();
  watchdog.look();
  expect(counted.fed).toBe(2);
});

test("an error is an answer too", async () => {
  const { threads, counted, watchdog } = watch(1);
  watchdog.look();
  await threads[0]!.answer(new Error("busy"));
  expect(counted.fed).toBe(1);
});

test("when the manager watches", () => {
  expect(watchdogPeriodMs({}, 7)).toBeUndefined();
  expect(watchdogPeriodMs({ WATCHDOG_USEC: "30000000" }, 7)).toBe(30_000);
  expect(watchdogPeriodMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "7" }, 7)).toBe(30_000);
  expect(watchdogPeriodMs({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "8" }, 7)).toBeUndefined();
  for (const odd of ["", "0", "-1", "soon", "1e9", "99999999999999999"]) {
    expect(watchdogPeriodMs({ WATCHDOG_USEC: odd }, 7)).toBeUndefined();
  }
});
