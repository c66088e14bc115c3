// Boots a VM for one scenario and reads its results until it powers off, hangs or dies.
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Qmp } from "../../../test/lab/harness/qmp.ts";
import { limitSeconds, type Scenario } from "../../../test/lab/harness/scenario.ts";
import { cpusOf } from "../../../test/lab/harness/shape.ts";
import type { Parts } from "../build/everything.ts";
import { track } from "../command.ts";
import { type Outcome, OutcomeReader } from "../outcome.ts";
import { workFolder } from "../work-folder.ts";
import { commandLine, type VmFiles } from "./command-line.ts";
import { logDisk, takeLogs } from "./log-disk.ts";
import { lostInterrupt } from "./lost-interrupt.ts";
import { postMortem } from "./post-mortem.ts";

export interface Boot {
  parts: Parts;
  name: string;
  scenario: Scenario;
  tree: string;
  /** Receives console.log, results.jsonl and all that the VM logged. */
  logs: string;
  print(line: string): void;
}

/** How often a VM begins again that the emulator left without its interrupts. */
const NEW_BEGINNINGS = 3;

export async function boot(plan: Boot): Promise<Outcome> {
  for (let left = NEW_BEGINNINGS; ; left--) {
    const { outcome, lost } = await once(plan);
    if (lost === undefined) return outcome;
    const words = `QEMU lost the end of an interrupt (${lost}), which is none of the scenario's doing`;
    // What failed before has failed.
    const over = left === 0 || outcome.failed > 0;
    plan.print(over ? `  FAIL  ${words}` : `        ${words}: the VM begins again`);
    if (over) return { ...outcome, failed: outcome.failed + 1 };
  }
}

async function once({ parts, name, scenario, tree, logs, print }: Boot) {
  mkdirSync(logs, { recursive: true });
  const monitor = join(workFolder(), `${name}.qmp`);
  rmSync(monitor, { force: true });
  const files: VmFiles = { tree, logs: await logDisk(logs), monitor };
  const consoleFile = join(logs, "console.log");
  const reader = new OutcomeReader(print);
  const qemu = Bun.spawn(commandLine(parts, scenario.vm, name, files, { file: consoleFile }), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: Bun.file(join(logs, "qemu.log")),
  });
  track(qemu);
  const limit = limitSeconds(scenario);
  let hung = false;
  let lost: string | undefined;
  const qmp = connectQmp(monitor, qemu.exited);
  const timer = setTimeout(async () => {
    hung = true;
    await qmp
      .then((client) => client && postMortem(client, join(logs, "hung-vm.log"), qemu.exited))
      .catch((error) => print(`        ${error}`));
    qemu.kill("SIGKILL");
  }, limit * 1000);
  void qmp
    .then((client) => client && lostInterrupt(client, cpusOf(scenario.vm), qemu.exited))
    .then((found) => {
      lost = found;
      if (found !== undefined) qemu.kill("SIGKILL");
    })
    // The monitor goes with QEMU.
    .catch(() => {});
  const record = createWriteStream(join(logs, "results.jsonl"));
  const decoder = new TextDecoder();
  for await (const bytes of qemu.stdout) {
    const text = decoder.decode(bytes, { stream: true });
    record.write(text);
    reader.take(text);
  }
  const code = await qemu.exited;
  clearTimeout(timer);
  await qmp.then((client) => client?.close());
  record.end();
  await takeLogs(files.logs, logs);
  if (lost !== undefined) return { outcome: reader.outcome, lost };
  const reason = whyNotEnded(consoleFile, hung ? limit : undefined, code);
  if (!reader.outcome.ended) reader.fail(reason);
  return { outcome: reader.outcome, lost };
}

/** QEMU's monitor, once it listens; undefined when QEMU ends before. */
async function connectQmp(path: string, ended: Promise<unknown>): Promise<Qmp | undefined> {
  const over = ended.then(() => true);
  while (!existsSync(path)) if (await Promise.race([over, Bun.sleep(50)])) return undefined;
  return Qmp.connect(path).catch(() => undefined);
}

function whyNotEnded(consoleFile: string, hungAfter: number | undefined, code: number): string {
  if (hungAfter !== undefined) return `the VM did not end within ${hungAfter} s`;
  const console = existsSync(consoleFile) ? readFileSync(consoleFile, "utf8") : "";
  const panic = console.match(/Kernel panic.*/)?.[0];
  if (panic !== undefined) return `the VM's kernel died: ${panic}`;
  if (code !== 0) return `QEMU ended with ${code}, see qemu.log`;
  return "the VM powered off before its scenario ended";
}
