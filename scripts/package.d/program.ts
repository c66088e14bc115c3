import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Architecture, elfMachine, hostArchitecture, MACHINES } from "./machine.ts";
import { capture, run } from "./run.ts";

/**
 * Builds the program for a machine. Its options are those of scripts/build, which runs the result and so can not build
 * for another machine.
 */
export async function buildProgram(root: string, architecture: Architecture, into: string): Promise<void> {
  const { bunTarget, elfMachine: wanted } = MACHINES[architecture];
  const base =
    architecture === hostArchitecture
      ? []
      : [`--target=${bunTarget}`, `--compile-executable-path=${await foreignBun(root, architecture)}`];
  await run(
    [
      ...[process.execPath, "build", "--compile", "--minify", "--bytecode", "--format=esm"],
      ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
      ...[...base, "--outfile", into, "src/main.ts"],
    ],
    { cwd: root },
  );
  const built = elfMachine(into);
  if (built !== wanted) throw new Error(`${into} is for ELF machine ${built} instead of ${wanted}`);
}

/** Bun for another machine, of the version that runs this: its npm package, fetched once. */
async function foreignBun(root: string, architecture: Architecture): Promise<string> {
  const folder = join(root, "dist/bun", `${architecture}-${Bun.version}`);
  const bun = join(folder, "package/bin/bun");
  if (existsSync(bun)) return bun;
  const partial = `${folder}.part`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const name = `${MACHINES[architecture].bunPackage}@${Bun.version}`;
  const archive = (await capture(["npm", "pack", "--silent", "--pack-destination", partial, name])).trim();
  await run(["tar", "-xzf", join(partial, archive), "-C", partial]);
  rmSync(join(partial, archive));
  renameSync(partial, folder);
  return bun;
}
