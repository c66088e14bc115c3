import { vdpactlBinary } from "./binary.ts";

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the compiled program to its end, with nothing of this process' VDPACTL_* and BUN_* variables. */
export function runVdpactl(...argv: readonly string[]): Ran {
  const env = Object.entries(process.env).filter(([name]) => !/^(VDPACTL_|BUN_|NO_COLOR$)/.test(name));
  const { exitCode, stdout, stderr } = Bun.spawnSync([vdpactlBinary(), ...argv], {
    env: Object.fromEntries(env),
    stdout: "pipe",
    stderr: "pipe",
    timeout: 30_000,
  });
  return { code: exitCode, out: stdout.toString(), err: stderr.toString() };
}
