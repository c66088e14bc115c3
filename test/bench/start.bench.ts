/**
 * Start-up of the compiled binary, and how long a device takes from the last message that makes it ready to
 * DRIVER_OK. Medians, in milliseconds; `/bin/true` is run in between as the machine's own cost of a process.
 */
import { spawnSync } from "node:child_process";
import { BINARY, Daemon } from "../e2e/support/daemon.ts";
import { connectGuest } from "../support/front-end/guest.ts";

const RUNS = 21;
const RUNNING = /runs with (\d+) rings after ([\d.]+) ms/;

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

function timed(command: string, args: readonly string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}: ${stderr}`);
  return performance.now() - start;
}

function startUp(): Record<string, number> {
  const commands = {
    true_ms: ["/bin/true"],
    version_ms: [BINARY, "--version"],
    probe_ms: [BINARY, "probe", "--json"],
  } as const;
  const times = Object.fromEntries(Object.keys(commands).map((name) => [name, [] as number[]]));
  console.error(`starts of programs: ${RUNS} runs`);
  for (let i = 0; i < RUNS; i++) {
    for (const [name, [command, ...args]] of Object.entries(commands))
      times[name]!.push(timed(command, args));
  }
  return Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));
}

/** From the last ring enable or DRIVER_OK message to the device's DRIVER_OK, as the daemon's log has it. */
async function driverOk(pairs: number): Promise<number> {
  console.error(`a device of ${pairs} pairs: ${RUNS} starts`);
  const daemon = await Daemon.start();
  try {
    for (let i = 0; i < RUNS; i++) {
      const mark = daemon.log.length;
      const guest = await connectGuest({ socketPath: daemon.socketPath, pairs });
      await daemon.logged(RUNNING, mark);
      guest.close();
      await daemon.logged(/front-end disconnected/, mark);
    }
    return median(daemon.log.flatMap((line) => RUNNING.exec(line)?.[2] ?? []).map(Number));
  } finally {
    await daemon.stop();
  }
}

const report = {
  ...startUp(),
  driver_ok_1_pair_ms: await driverOk(1),
  driver_ok_8_pairs_ms: await driverOk(8),
};
if (process.argv.includes("--json")) console.log(JSON.stringify(report));
else for (const [name, ms] of Object.entries(report)) console.log(`${name.padEnd(22)} ${ms.toFixed(1)}`);
