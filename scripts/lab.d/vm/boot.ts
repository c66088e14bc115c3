// Boots a VM for one scenario and reads its results until it powers off, hangs or dies.
import { createWriteStream, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { limitSeconds, type Scenario } from "../../../test/lab/harness/scenario.ts";
import type { Parts } from "../build/everything.ts";
import { track } from "../command.ts";
import { type Outcome, OutcomeReader } from "../outcome.ts";
import { workFolder } from "../work-folder.ts";
import { commandLine, type VmFiles } from "./command-line.ts";
import { logDisk, takeLogs } from "./log-disk.ts";
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

export async function boot({ parts, name, scenario, tree, logs, print }: Boot): Promise<Outcome> {
  mkdirSync(logs, { recursive: true });
  const monitor = join(workFolder(), `${name}.qmp`);
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
  const timer = setTimeout(async () => {
    hung = true;
    await postMortem(monitor, join(logs, "hung-vm.log"), qemu.exited).catch((error) =>
      print(`        ${error}`),
    );
    qemu.kill("SIGKILL");
  }, limit * 1000);
  const record = createWriteStream(join(logs, "results.jsonl"));
  const decoder = new TextDecoder();
  for await (const bytes of qemu.stdout) {
    const text = decoder.decode(bytes, { stream: true });
    record.write(text);
    reader.take(text);
  }
  const code = await qemu.exited;
  clearTimeout(timer);
  record.end();
  await takeLogs(files.logs, logs);
  const reason = whyNotEnded(consoleFile, hung ? limit : undefined, code);
  if (!reader.outcome.ended) reader.fail(reason);
  return reader.outcome;
}

function whyNotEnded(consoleFile: string, hungAfter: number | undefined, code: number): string {
  if (hungAfter !== undefined) return `the VM did not end within ${hungAfter} s`;
  const console = existsSync(consoleFile) ? readFileSync(consoleFile, "utf8") : "";
  const panic = console.match(/Kernel panic.*/)?.[0];
  if (panic !== undefined) return `the VM's kernel died: ${panic}`;
  if (code !== 0) return `QEMU ended with ${code}, see qemu.log`;
  return "the VM powered off before its scenario ended";
}
