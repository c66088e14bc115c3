// Runs one scenario; the VM's init starts it. Usage: bun inside.ts SCENARIO [--results PATH]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { kernelFaults } from "./kernel-faults.ts";
import { Lab } from "./lab.ts";
import { stopPrograms } from "./program.ts";
import { Report } from "./report.ts";
import { limitSeconds, type Scenario } from "./scenario.ts";
import { withinLimit } from "./time-limit.ts";
import { uptime } from "./uptime.ts";

/** For the end of all programs, and the VM's. */
const ROOM_SECONDS = 300;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { results: { type: "string" } },
});
const name = positionals[0] ?? "";
const report = new Report(values.results);
report.send({ kind: "begin", scenario: name, uptime: uptime() });
try {
  const { default: scenario } = (await import(join(import.meta.dir, "..", name + ".ts"))) as {
    default: Scenario;
  };
  await withinLimit(limitSeconds(scenario) - ROOM_SECONDS, scenario.run(new Lab(scenario.vm, report)));
} catch (error) {
  console.log(error);
  report.check("the scenario runs to its end", false, error instanceof Error ? error.message : error);
}
try {
  await stopPrograms();
} catch (error) {
  report.check("its programs end", false, error);
}
const faults = await kernelFaults();
report.check(
  "faults that the VM's kernel reports",
  faults.length === 0,
  faults.slice(0, 3).join("; ") || "0",
);
report.send({ kind: "end", passed: report.passed, failed: report.failed, uptime: uptime() });
process.exit(report.failed === 0 ? 0 : 1);
