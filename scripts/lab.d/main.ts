// Verbs of scripts/lab.
import { parseArgs } from "node:util";
import { everything } from "./build/everything.ts";
import { killRunning } from "./command.ts";
import { cache } from "./places.ts";
import { LabError, say } from "./progress.ts";
import { run } from "./run.ts";
import { scenarioNamed, scenarioNames } from "./scenarios.ts";
import { shell } from "./shell.ts";

const HELP = `The virtual lab: VMs with an IOMMU and virtio NICs, in which vdpactl meets real VFIO.

  scripts/lab build                     build the VM, its kernel and the nested guest, once
  scripts/lab run [SCENARIO…]           run scenarios (all but the extended ones when none is named) and count their checks
  scripts/lab list                      the scenarios
  scripts/lab shell [SCENARIO]          a prompt in that scenario's VM (default: lab-smoke)

  --all         run without names: the extended scenarios too, which take long
  --jobs N      VMs that run has at a time (default: 1)
  --logs DIR    where run puts the complete logs (default: below the cache)
  -h, --help    this text

What is built lives in ${cache} (VDPACTL_LAB_CACHE moves it).
Exit codes: 0 all checks passed, 1 a check or a VM failed, 2 usage.`;

async function list(): Promise<void> {
  const width = Math.max(...scenarioNames().map((name) => name.length));
  for (const name of scenarioNames()) {
    console.log(`${name.padEnd(width)}  ${(await scenarioNamed(name)).summary}`);
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        logs: { type: "string" },
        jobs: { type: "string" },
        all: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new LabError((error as Error).message, 2);
  }
}

function jobsOf(text: string): number {
  if (/^[1-9]\d?$/.test(text)) return Number(text);
  throw new LabError(`--jobs ${text}: a number from 1 to 99 is wanted`, 2);
}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parse(args);
  const [verb, ...names] = positionals;
  if (values.help === true) {
    console.log(HELP);
    return 0;
  }
  switch (verb) {
    case "build":
      await everything();
      say(`lab: everything is built in ${cache}`);
      return 0;
    case "run":
      return run(names, { logs: values.logs, all: values.all === true, jobs: jobsOf(values.jobs ?? "1") });
    case "list":
      await list();
      return 0;
    case "shell":
      return shell(names[0] ?? "lab-smoke");
    default:
      throw new LabError((verb === undefined ? "" : `unknown verb "${verb}"\n`) + HELP, 2);
  }
}

const INTERRUPTED: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
for (const [signal, code] of Object.entries(INTERRUPTED)) {
  process.on(signal, () => {
    killRunning();
    process.exit(code);
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof LabError)) throw error;
  say(error.message);
  process.exitCode = error.exitCode;
}
