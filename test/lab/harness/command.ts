// A program that runs to its end while the scenario waits.

export interface Finished {
  code: number;
  stdout: string;
  stderr: string;
}

const LIMIT_SECONDS = 400;

/** Never throws for an exit code; 124 means that it ran into the limit. */
export async function attempt(argv: string[], limitSeconds = LIMIT_SECONDS): Promise<Finished> {
  console.log("$", argv.join(" "));
  const bounded = ["timeout", "--kill-after=5", String(limitSeconds), ...argv];
  const child = Bun.spawn(bounded, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  for (const line of (stdout + stderr).trimEnd().split("\n")) console.log("  |", line);
  if (code !== 0) console.log("  = exit code", code);
  return { code, stdout, stderr };
}

/** Returns stdout; throws unless the exit code is 0. */
export async function command(...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await attempt(argv);
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}: ${stderr.trim() || stdout.trim()}`);
  return stdout;
}
