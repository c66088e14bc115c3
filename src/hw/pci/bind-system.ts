import { chownSync, existsSync, statSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { messageOf, OperatorError } from "../operator-error.ts";
import type { SysfsWrite } from "./driver-plan.ts";
import type { NodeOwner } from "./node-owner.ts";

/** What binding does to the machine; tests put a kernel of their own behind it. */
export interface BindSystem {
  /** Returns when the kernel has done it. @throws StillHeld when a device is not let go in time */
  write(write: SysfsWrite): Promise<void>;
  modprobe(module: string): void;
  /** Changes the owner of a device node, which may take a moment to appear. */
  chown(path: string, owner: NodeOwner): Promise<void>;
}

/** The kernel still waits for a process to close the device; until then any further write to it would block. */
export class StillHeld extends OperatorError {
  constructor(path: string) {
    super("the device was not released in time", {
      why: `the kernel still waits in ${path} for the processes that hold it`,
      remedy: "end those processes; the kernel then completes it by itself",
    });
  }
}

const RELEASE_LIMIT_MS = 10_000;
const NODE_LIMIT_MS = 2_000;
const MODPROBE_LIMIT_MS = 30_000;

export const bindSystem: BindSystem = { write, modprobe, chown };

async function write({ path, value, mayBlock }: SysfsWrite): Promise<void> {
  try {
    // An empty write would not reach the kernel at all, hence the line end (driver_override takes it for "none").
    if (mayBlock && existsSync("/bin/sh")) await writeInChild(path, value);
    else writeFileSync(path, `${value}\n`);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    throw new OperatorError(`the kernel refused "${value}" in ${path}`, {
      why: messageOf(error),
      remedy: "dmesg | tail",
      cause: error,
    });
  }
}

/** Unbinding a held device blocks in the kernel and can not be taken back, so another process waits there. */
async function writeInChild(path: string, value: string): Promise<void> {
  const child = Bun.spawn(["/bin/sh", "-c", 'printf "%s\\n" "$1" > "$2"', "sh", value, path], {
    stderr: "pipe",
  });
  const result = await Promise.race([child.exited, Bun.sleep(RELEASE_LIMIT_MS)]);
  if (result === undefined) {
    child.unref();
    throw new StillHeld(path);
  }
  if (result !== 0)
    throw new Error((await new Response(child.stderr).text()).trim() || `exit code ${result}`);
}

function modprobe(module: string): void {
  const failed = (why: string) =>
    new OperatorError(`cannot load the kernel module ${module}`, {
      why,
      remedy: `modprobe ${module}; the kernel's modules for ${release()} must be installed`,
      kind: "not-ready",
    });
  const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
  let result: Bun.SyncSubprocess<"ignore", "pipe">;
  try {
    result = Bun.spawnSync(["modprobe", "--", module], {
      env: { ...process.env, PATH: path },
      stdout: "ignore",
      stderr: "pipe",
      timeout: MODPROBE_LIMIT_MS,
    });
  } catch (error) {
    throw failed(messageOf(error));
  }
  if (!result.success)
    throw failed(result.stderr.toString().trim() || `modprobe ended with ${result.exitCode}`);
}

async function chown(path: string, { uid, gid }: NodeOwner): Promise<void> {
  for (const end = performance.now() + NODE_LIMIT_MS; !existsSync(path); await Bun.sleep(10)) {
    if (performance.now() > end) {
      throw new OperatorError(`${path} did not appear`, { why: `waited ${NODE_LIMIT_MS / 1000} s for it` });
    }
  }
  const now = statSync(path);
  try {
    chownSync(path, uid ?? now.uid, gid ?? now.gid);
  } catch (cause) {
    throw new OperatorError(`cannot change the owner of ${path}`, { why: messageOf(cause), cause });
  }
}
