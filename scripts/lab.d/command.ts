// Runs a program to its end. The programs that are running are known, so that an interrupt leaves none behind.
import { LabError } from "./progress.ts";

const running = new Set<Bun.Subprocess>();

export interface CommandOptions {
  cwd?: string;
  env?: Record<string, string>;
  timeoutSeconds?: number;
  input?: string;
}

/** Returns the program's stdout. Throws with the end of its output when it fails. */
export async function command(argv: string[], options: CommandOptions = {}): Promise<string> {
  const child = Bun.spawn(argv, {
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, LC_ALL: "C", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  running.add(child);
  const limit = setTimeout(() => child.kill("SIGKILL"), (options.timeoutSeconds ?? 900) * 1000);
  try {
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    if (code === 0) return out;
    const end = (err + out).trimEnd().split("\n").slice(-25).join("\n");
    throw new LabError(`${argv.slice(0, 3).join(" ")} … ended with ${child.signalCode ?? code}:\n${end}`);
  } finally {
    clearTimeout(limit);
    running.delete(child);
  }
}

/** Runs a bash script text; arguments are its $1, $2, … */
export function script(text: string, args: string[] = [], options: CommandOptions = {}): Promise<string> {
  return command(["bash", "-euo", "pipefail", "-c", text, "lab", ...args], options);
}

export function track(child: Bun.Subprocess): void {
  running.add(child);
  child.exited.finally(() => running.delete(child));
}

export function killRunning(): void {
  for (const child of running) child.kill("SIGKILL");
}
