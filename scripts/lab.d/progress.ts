// Progress goes to stderr, results to stdout.

export function say(text: string): void {
  process.stderr.write(text + "\n");
}

/** An error whose message is all the operator needs; printed without a stack. */
export class LabError extends Error {
  constructor(
    message: string,
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

export function seconds(sinceMilliseconds: number): string {
  return ((performance.now() - sinceMilliseconds) / 1000).toFixed(1) + " s";
}
