interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Runs a command; its output goes to standard error. @throws Error unless it succeeds */
export async function run(command: readonly string[], { cwd, env }: RunOptions = {}): Promise<void> {
  const child = Bun.spawn([...command], {
    ...(cwd !== undefined && { cwd }),
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: 2 as never,
    stderr: "inherit",
  });
  const code = await child.exited;
  if (code !== 0) throw new Error(`${command.slice(0, 2).join(" ")} ended with ${code}`);
}

/** The standard output of a command. @throws Error unless it succeeds */
export async function capture(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  if (code !== 0) throw new Error(`${command.slice(0, 2).join(" ")} ended with ${code}`);
  return text;
}
