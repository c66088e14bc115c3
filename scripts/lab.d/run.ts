// `scripts/lab run`: one VM per scenario, and the totals.
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { binary } from "./binary.ts";
import { everything } from "./build/everything.ts";
import { debianPackage } from "./debian-package.ts";
import { cache } from "./places.ts";
import { say, seconds } from "./progress.ts";
import { scenarioNamed, scenarioNames } from "./scenarios.ts";
import { boot } from "./vm/boot.ts";
import { treeImage } from "./vm/tree-image.ts";
import { workFolder } from "./work-folder.ts";

const print = (line: string) => console.log(line);

export interface RunOptions {
  readonly logs: string | undefined;
  /** Without names: extended scenarios too. */
  readonly all: boolean;
  /** VMs at a time. With several, a scenario's lines come together once it has ended. */
  readonly jobs: number;
}

/** Returns the exit code. */
export async function run(names: string[], { logs, all, jobs }: RunOptions): Promise<number> {
  const chosen = names.length > 0 ? names : scenarioNames();
  const known = await Promise.all(
    chosen.map(async (name) => ({ name, scenario: await scenarioNamed(name) })),
  );
  const scenarios = known.filter(({ scenario }) => names.length > 0 || all || scenario.extended !== true);
  const parts = await everything();
  if (scenarios.some(({ scenario }) => scenario.usesVdpactl)) await binary();
  const folder = logs === undefined ? newLogFolder() : resolve(logs);
  mkdirSync(folder, { recursive: true });
  let passed = 0;
  let failed = 0;
  const work = workFolder();
  const carried = scenarios.some(({ scenario }) => scenario.usesPackage)
    ? await debianPackage(work)
    : undefined;
  const tree = await treeImage(parts, work, carried);
  const waiting = [...scenarios];
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { name, scenario } = next;
      const held: string[] = [];
      const tell = jobs > 1 ? (line: string) => void held.push(line) : print;
      if (jobs > 1) say(`lab: ${name} begins`);
      tell(`${name}: ${scenario.summary}`);
      const start = performance.now();
      const own = join(folder, name);
      rmSync(own, { recursive: true, force: true });
      const outcome = await boot({ parts, name, scenario, tree, logs: own, print: tell });
      passed += outcome.passed;
      failed += outcome.failed;
      const booted =
        outcome.bootSeconds === undefined ? "" : `, up after ${outcome.bootSeconds.toFixed(1)} s`;
      tell(`        ${outcome.passed} ok, ${outcome.failed} not ok, ${seconds(start)}${booted}`);
      for (const line of held) print(line);
      if (outcome.failed > 0) showLog(own);
    }
  };
  await Promise.all(Array.from({ length: jobs }, lane));
  const left = known.filter((one) => !scenarios.includes(one)).map(({ name }) => name);
  if (left.length > 0) say(`lab: not run without --all: ${left.join(", ")}`);
  say(`lab: complete logs are in ${folder}`);
  print(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function newLogFolder(): string {
  const stamp = new Date().toISOString().replace(/[:T]/g, "-").slice(0, 19);
  return join(cache, "logs", `${stamp}-${process.pid}`);
}

const LINES_SHOWN = 40;

function showLog(folder: string): void {
  for (const name of ["scenario.log", "console.log", "qemu.log"]) {
    const path = join(folder, name);
    const text = existsSync(path) ? readFileSync(path, "utf8").trimEnd() : "";
    if (text === "") continue;
    say(`--- the end of ${path}`);
    say(text.split("\n").slice(-LINES_SHOWN).join("\n"));
    if (name === "scenario.log") return;
  }
}
