export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly env?: Record<string, string | undefined>;
  readonly cwd?: string;
  readonly limitMs?: number;
}

/** Runs any program to its end; one that does not end is killed. */
export async function runToEnd(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { limitMs = 60_000, ...where } = options;
  const child = Bun.spawn([...command], { ...where, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const late = setTimeout(() => child.kill("SIGKILL"), limitMs);
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(late);
  return { code, out, err };
}
