// What a VM that hangs was doing: the state of its CPUs as QEMU tells it, and where its kernel's tasks stand, which the
// kernel prints to its console when it panics.
import { writeFileSync } from "node:fs";
import type { Qmp } from "../../../test/lab/harness/qmp.ts";
import { ask } from "./lost-interrupt.ts";

/** Kernel parameters: an NMI panics, and a panic shows all tasks, timers and the stacks of all CPUs. */
export const PANIC_PARAMETERS = "unknown_nmi_panic panic_print=0x45";

const QUESTIONS = [
  "info status",
  "info registers -a",
  "info lapic 0",
  "info lapic 1",
  "info block",
  "info network",
];
const PANIC_SECONDS = 120;

/** Asks QEMU through its monitor and writes the answers to `file`; then has the kernel panic and waits for QEMU's end. */
export async function postMortem(qmp: Qmp, file: string, ended: Promise<unknown>): Promise<void> {
  const answers: string[] = [];
  for (const question of QUESTIONS) {
    answers.push(`=== ${question}`, await ask(qmp, question));
    writeFileSync(file, answers.join("\n"));
  }
  await qmp.execute("inject-nmi");
  await Promise.race([ended, Bun.sleep(PANIC_SECONDS * 1000)]);
}
