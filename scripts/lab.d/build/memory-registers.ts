// What vm/memory-registers.c says, compiled: a library for QEMU.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "../command.ts";
import { recipes } from "../places.ts";
import { finished } from "../step.ts";

const OPTIONS = ["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"];

export async function memoryRegisters(): Promise<string> {
  const source = join(recipes, "vm", "memory-registers.c");
  const folder = await finished({
    name: "memory-registers",
    inputs: [...OPTIONS, readFileSync(source, "utf8")],
    build: async (target) => {
      await command(["gcc", ...OPTIONS, "-o", join(target, "memory-registers.so"), source]);
    },
  });
  return join(folder, "memory-registers.so");
}
