export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const LIMIT_MS = 60_000;

/** Runs any program to its end; one that does not end is killed. */
export async function runToEnd(
  command: readonly string[],
  options: { readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Promise<Ran> {
  const child = Bun.spawn([...command], { ...options, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const late = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(late);
  return { code, out, err };
}
