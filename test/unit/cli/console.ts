import { runCli, type Surroundings, type VerbTable } from "../../../src/cli/run.ts";
import { BrokenPipe } from "../../../src/cli/terminal.ts";

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line within the test. */
export async function runLine(
  verbs: VerbTable,
  argv: readonly string[],
  {
    env = {},
    terminal = false,
    brokenPipe = false,
  }: { env?: Surroundings["env"]; terminal?: boolean; brokenPipe?: boolean } = {},
): Promise<Outcome> {
  const written = { 1: "", 2: "" };
  const code = await runCli(argv, verbs, "9.8.7", {
    env,
    isTerminal: () => terminal,
    write: (fd, text) => {
      if (brokenPipe && fd === 1) throw new BrokenPipe();
      written[fd] += text;
    },
  });
  return { code, out: written[1], err: written[2] };
}
