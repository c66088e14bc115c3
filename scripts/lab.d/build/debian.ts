// Debian packages of releases other than the machine's, from the mirror that the machine's own apt uses,
// without touching its apt: the lists and sources live in a folder of the lab's.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "../command.ts";
import { cache } from "../places.ts";
import { LabError, say } from "../progress.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** "bookworm", "trixie", … */
export function machineRelease(): string {
  const codename = readFileSync("/etc/os-release", "utf8").match(/^VERSION_CODENAME="?(\w+)/m)?.[1];
  if (codename === undefined)
    throw new LabError("the lab builds on Debian only: /etc/os-release names no release");
  return codename;
}

const TARGETS = "$(ORIGIN)\t$(LABEL)\t$(CODENAME)\t$(COMPONENT)\t$(REPO_URI)";

/** apt knows the origin of each of its sources, whatever their format: Debian's own, in its main archive. */
async function configuredMirror(): Promise<string | undefined> {
  const release = machineRelease();
  const targets = await command(["apt-get", "indextargets", "--format", TARGETS, "Created-By: Packages"]);
  for (const line of targets.split("\n")) {
    const [origin, label, codename, component, uri] = line.split("\t");
    if (origin === "Debian" && label === "Debian" && codename === release && component === "main") return uri;
  }
  return undefined;
}

let mirrorOnce: Promise<string> | undefined;

export function mirror(): Promise<string> {
  mirrorOnce ??= (async () => {
    let uri = await configuredMirror();
    if (uri === undefined) {
      await command(["apt-get", "update", "-qq"]);
      uri = await configuredMirror();
    }
    if (uri === undefined)
      throw new LabError("apt has no source of Debian's main archive; add one to /etc/apt");
    return uri;
  })();
  return mirrorOnce;
}

/** One line of a sources list for `suite`. */
export async function sourceLine(suite: string): Promise<string> {
  const signed = existsSync(KEYRING) ? ` [signed-by=${KEYRING}]` : "";
  return `deb${signed} ${await mirror()} ${suite} main`;
}

const aptOptions = (folder: string) => [
  ...["-o", `Dir::Etc::sourcelist=${folder}/sources.list`, "-o", "Dir::Etc::sourceparts=/dev/null"],
  ...["-o", `Dir::State::Lists=${folder}/lists`, "-o", `Dir::Cache=${folder}/cache`],
  ...["-o", "APT::Sandbox::User=root", "-o", "Dir::Etc::preferencesparts=/dev/null"],
];

const updated = new Map<string, Promise<string[]>>();

/** The apt options that make `suite` the only source; its lists are fetched once per run. */
function onlySuite(suite: string): Promise<string[]> {
  const known = updated.get(suite);
  if (known !== undefined) return known;
  const fetching = (async () => {
    const folder = join(cache, "apt", suite);
    for (const part of ["lists/partial", "cache/archives/partial"])
      mkdirSync(join(folder, part), { recursive: true });
    writeFileSync(join(folder, "sources.list"), (await sourceLine(suite)) + "\n");
    say(`lab: fetching the package lists of ${suite}`);
    await command(["apt-get", ...aptOptions(folder), "update", "-qq"]);
    return aptOptions(folder);
  })();
  updated.set(suite, fetching);
  return fetching;
}

/** Unpacks packages of `suite` into `target` without installing them. */
export async function unpack(suite: string, packages: string[], target: string): Promise<void> {
  const options = await onlySuite(suite);
  const folder = join(target, ".packages");
  mkdirSync(folder, { recursive: true });
  await command(["apt-get", ...options, "download", "-qq", ...packages], { cwd: folder });
  for (const file of readdirSync(folder)) await command(["dpkg", "-x", join(folder, file), target]);
  await command(["rm", "-rf", folder]);
}

/** The first dependency of `name` that matches, such as the kernel behind a metapackage. */
export async function dependency(suite: string, name: string, pattern: RegExp): Promise<string> {
  const options = await onlySuite(suite);
  const text = await command(["apt-cache", ...options, "depends", name]);
  for (const line of text.split("\n")) {
    const found = line.match(/Depends: (\S+)/)?.[1];
    if (found !== undefined && pattern.test(found)) return found;
  }
  throw new LabError(`${name} of ${suite} depends on nothing like ${pattern.source}`);
}
