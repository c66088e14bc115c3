// Counts checks and sends each to the outside as it is made.
import { openSync, writeSync } from "node:fs";
import type { ResultLine } from "./results.ts";
import { uptime } from "./uptime.ts";

export class Report {
  passed = 0;
  failed = 0;
  readonly #output: number;

  constructor(path: string | undefined) {
    this.#output = path === undefined ? 1 : openSync(path, "w");
  }

  send(line: ResultLine): void {
    // A serial port takes what it can and returns; the rest goes in the next write.
    const bytes = Buffer.from(JSON.stringify(line) + "\n");
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#output, bytes, done);
    if (this.#output !== 1) console.log(`# ${uptime().toFixed(1)}`, JSON.stringify(line));
  }

  check(name: string, condition: boolean, detail: unknown = ""): void {
    if (condition) this.passed += 1;
    else this.failed += 1;
    this.send({ kind: "check", name, ok: condition, detail: String(detail) });
  }

  note(text: string): void {
    this.send({ kind: "note", text });
  }
}
