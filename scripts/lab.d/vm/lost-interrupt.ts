// A fault of the emulator that a VM does not recover from. Once in some dozen boots QEMU 10.0.13 (TCG with several
// threads) loses the guest's write that ends an interrupt: the local APIC has the timer's interrupt in service for good,
// lets none of the same or a lower class through, and the CPU sleeps for ever. No guest does that by itself: Linux ends an
// interrupt before its handler does anything else.
import type { Qmp } from "../../../test/lab/harness/qmp.ts";

const POLL_SECONDS = 10;
/** Polls in a row that have to show the same. */
const CERTAIN = 3;

/** CPUs that are halted with an interrupt in service, as "CPU 1: interrupt 236"; from QEMU's human monitor. */
export function haltedInService(registers: string, lapics: readonly string[]): string[] {
  const halted = registers.split(/^CPU#/m).slice(1);
  return lapics.flatMap((lapic, cpu) => {
    const vector = lapic.match(/^ISR\s+(\d+)/m)?.[1];
    const isHalted = /\bHLT=1\b/.test(halted[cpu] ?? "");
    return vector !== undefined && isHalted ? [`CPU ${cpu}: interrupt ${vector}`] : [];
  });
}

/** Resolves to what was lost, when it was; `cpus` of the VM are asked about until `ended`. */
export async function lostInterrupt(
  qmp: Qmp,
  cpus: number,
  ended: Promise<unknown>,
): Promise<string | undefined> {
  const over = ended.then(() => true);
  let seen = new Map<string, number>();
  while (!(await Promise.race([over, Bun.sleep(1000 * POLL_SECONDS)]))) {
    const registers = await ask(qmp, "info registers -a");
    const lapics: string[] = [];
    for (let cpu = 0; cpu < cpus; cpu++) lapics.push(await ask(qmp, `info lapic ${cpu}`));
    seen = new Map(haltedInService(registers, lapics).map((one) => [one, (seen.get(one) ?? 0) + 1]));
    for (const [one, times] of seen) if (times >= CERTAIN) return one;
  }
  return undefined;
}

/** A question to QEMU's human monitor. */
export async function ask(qmp: Qmp, question: string): Promise<string> {
  return String(await qmp.execute("human-monitor-command", { "command-line": question }));
}
