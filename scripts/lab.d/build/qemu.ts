// The QEMU that runs the VMs. Debian 12's own (7.2) faults with more than one CPU under emulation in about every
// second boot, so there the one of bookworm-backports is unpacked beside it.
import { join } from "node:path";
import { command } from "../command.ts";
import { finished } from "../step.ts";
import { machineRelease, unpack } from "./debian.ts";

const LEAST_MAJOR = 10;
const PACKAGES = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];

/** The start of a command line: the binary and where its firmware is. */
export type QemuCommand = string[];

export async function qemu(): Promise<QemuCommand> {
  const own = await command(["qemu-system-x86_64", "--version"]);
  if (Number(own.match(/version (\d+)/)?.[1]) >= LEAST_MAJOR) return ["qemu-system-x86_64"];
  const suite = machineRelease() + "-backports";
  const folder = await finished({
    name: "qemu",
    inputs: [suite, ...PACKAGES],
    build: async (target) => {
      await unpack(suite, PACKAGES, target);
      await command([...unpacked(target), "--version"]);
    },
  });
  return unpacked(folder);
}

function unpacked(folder: string): QemuCommand {
  const share = join(folder, "usr/share");
  return [
    join(folder, "usr/bin/qemu-system-x86_64"),
    "-L",
    join(share, "qemu"),
    "-L",
    join(share, "seabios"),
  ];
}
