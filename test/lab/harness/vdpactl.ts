// The binary under test.
import { attempt, type Finished } from "./command.ts";
import type { Device } from "./device.ts";
import { Program } from "./program.ts";

export const vdpactlPath = process.env["VDPACTL"] ?? "dist/vdpactl";

/** Runs a verb to its end. */
export function vdpactl(...args: string[]): Promise<Finished> {
  return attempt([vdpactlPath, ...args]);
}

/** Runs a verb that answers in JSON and must succeed. */
export async function vdpactlJson(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await vdpactl(...args, "--json");
  if (code !== 0) throw new Error(`vdpactl ${args.join(" ")} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

export interface ServeOptions {
  device: Device;
  socket: string;
  args?: string[];
  /** A program in front of it that runs it, such as setpriv with its arguments. */
  under?: string[];
}

/** Starts `serve` and waits until its socket listens. */
export async function serve({ device, socket, args = [], under = [] }: ServeOptions): Promise<Program> {
  const argv = [...under, vdpactlPath, "serve", "--pci", device.bdf, "--socket", socket, ...args];
  const program = new Program(`serve-${device.shape.name}`, argv);
  await program.stdout.expect(/^READY.*\n/m);
  return program;
}
