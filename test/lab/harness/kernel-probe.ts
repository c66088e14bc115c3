// Counts the calls of a function of the VM's kernel, with a kprobe (Documentation/trace/kprobetrace.rst).
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { command } from "./command.ts";

const TRACING = "/sys/kernel/tracing";

export class KernelProbe {
  private constructor(readonly name: string) {}

  /** @param symbol a function of the kernel or of a module that is loaded */
  static async on(symbol: string): Promise<KernelProbe> {
    if (!existsSync(`${TRACING}/kprobe_events`)) await command("mount", "-t", "tracefs", "tracefs", TRACING);
    const name = `lab_${symbol}`;
    appendFileSync(`${TRACING}/kprobe_events`, `p:kprobes/${name} ${symbol}\n`);
    writeFileSync(`${TRACING}/events/kprobes/${name}/enable`, "1");
    return new KernelProbe(name);
  }

  /** Calls since the probe was set. */
  get calls(): number {
    for (const line of readFileSync(`${TRACING}/kprobe_profile`, "utf8").split("\n")) {
      const [name, hits, missed] = line.trim().split(/\s+/);
      if (name === this.name) return Number(hits) + Number(missed);
    }
    throw new Error(`the kernel counts no ${this.name}`);
  }
}
