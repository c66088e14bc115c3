// `scripts/lab shell`: a prompt in a scenario's VM, on this terminal.
import { everything } from "./build/everything.ts";
import { track } from "./command.ts";
import { debianPackage } from "./debian-package.ts";
import { say } from "./progress.ts";
import { scenarioNamed } from "./scenarios.ts";
import { commandLine } from "./vm/command-line.ts";
import { logDisk } from "./vm/log-disk.ts";
import { treeImage } from "./vm/tree-image.ts";
import { workFolder } from "./work-folder.ts";

/** Returns the exit code. */
export async function shell(name: string): Promise<number> {
  const scenario = await scenarioNamed(name);
  const parts = await everything();
  const work = workFolder();
  const carried = scenario.usesPackage ? await debianPackage(work) : undefined;
  const files = { tree: await treeImage(parts, work, carried), logs: await logDisk(work) };
  say("lab: booting; Ctrl-A X ends the VM, Ctrl-A H lists the other keys");
  const qemu = Bun.spawn(commandLine(parts, scenario.vm, name, files, "terminal"), {
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  });
  track(qemu);
  return qemu.exited;
}
