// Turns what a VM sent over its results port into a verdict. A VM that stops sending before its end has failed.
import { parseResultLine } from "../../test/lab/harness/results.ts";

export interface Outcome {
  passed: number;
  failed: number;
  ended: boolean;
  /** Seconds from power-on to the scenario's first line, as the VM's kernel counts them. */
  bootSeconds: number | undefined;
}

export class OutcomeReader {
  readonly outcome: Outcome = { passed: 0, failed: 0, ended: false, bootSeconds: undefined };
  #rest = "";

  constructor(private readonly print: (line: string) => void) {}

  take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  fail(reason: string): void {
    this.outcome.failed += 1;
    this.print(`  FAIL  ${reason}`);
  }

  #line(line: string): void {
    const result = parseResultLine(line);
    const outcome = this.outcome;
    switch (result?.kind) {
      case undefined:
        this.fail(`the VM sent a line that is no result: ${line.slice(0, 200)}`);
        break;
      case "begin":
        outcome.bootSeconds = result.uptime;
        break;
      case "note":
        this.print(`        ${result.text}`);
        break;
      case "check":
        this.#check(result.ok, result.detail ? `${result.name}: ${result.detail}` : result.name);
        break;
      case "end":
        if (result.passed !== outcome.passed || result.failed !== outcome.failed) {
          this.fail(`the VM counted ${result.passed} passed and ${result.failed} failed`);
        }
        outcome.ended = true;
    }
  }

  #check(ok: boolean, text: string): void {
    if (!ok) {
      this.fail(text);
      return;
    }
    this.outcome.passed += 1;
    this.print(`  ok    ${text}`);
  }
}
