import { afterEach, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Daemon, type DaemonOptions } from "./support/daemon.ts";
import { framesOfFirmware } from "./support/firmware-guest.ts";
import { adapt, recipe, words } from "./support/recipes.ts";

/** docs/guide.md's command lines for QEMU, with the simulated device instead of a NIC. */
const LIMIT_MS = 240_000;
const DOCUMENTED = "/run/vh/vm1.sock";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(options: DaemonOptions): Promise<Daemon> {
  const daemon = await Daemon.start(options);
  cleanup.push(() => daemon.dispose());
  return daemon;
}

function socketPath(): string {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-guide-"));
  cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, "vm1.sock");
}

/** Runs a recipe with little memory and without a window; its firmware boots from the network. */
function runQemu(name: string, socket: string): ChildProcess {
  const command = adapt(recipe(name), { [DOCUMENTED]: socket, "-m 1G": "-m 128M", "size=1G": "size=128M" });
  const [program, ...args] = words(command);
  const qemu = spawn(program!, [...args, "-accel", "tcg", "-display", "none", "-boot", "n"], {
    stdio: "ignore",
  });
  const ended = new Promise((resolve) => qemu.on("close", resolve).on("error", resolve));
  cleanup.push(() => {
    qemu.kill("SIGKILL");
    return ended;
  });
  return qemu;
}

const RUNS = /sim runs with 2 rings/;

test(
  "vdpactl listens, and is restarted while the guest runs",
  async () => {
    const path = socketPath();
    const daemon = await start({ socketPath: path });
    runQemu("qemu-client", path);
    await daemon.logged(RUNS);
    const frames = await framesOfFirmware(daemon);
    expect(await daemon.stop()).toBe(0);
    const next = await start({ socketPath: path });
    await next.logged(RUNS);
    await framesOfFirmware(next, frames);
  },
  LIMIT_MS,
);

test(
  "QEMU listens, and vdpactl is restarted",
  async () => {
    const path = socketPath();
    const client = { socketPath: path, args: ["--client"] };
    const daemon = await start(client);
    runQemu("qemu-server", path);
    await daemon.logged(RUNS);
    const frames = await framesOfFirmware(daemon);
    expect(await daemon.stop()).toBe(0);
    const next = await start(client);
    await next.logged(RUNS);
    await framesOfFirmware(next, frames);
  },
  LIMIT_MS,
);
