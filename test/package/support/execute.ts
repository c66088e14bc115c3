export interface Executed {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command to its end. @throws Error when it fails, unless that is what is looked at */
export async function execute(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  mayFail = false,
): Promise<Executed> {
  // No settings of this shell reach the program, and no service manager is there.
  const { NOTIFY_SOCKET: _, ...rest } = process.env;
  const child = Bun.spawn([...command], {
    env: { ...rest, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0 && !mayFail) throw new Error(`${command.join(" ")} ended with ${code}:\n${err}${out}`);
  return { code, out, err };
}
