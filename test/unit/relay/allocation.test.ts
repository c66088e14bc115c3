import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

/** Garbage collections of a process that moves millions of entries after it has begun, as JavaScriptCore logs them. */
function collections(what: "relay" | "wired" | "control"): number {
  const { stderr, exitCode } = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "moving-process.ts"), what],
    {
      env: { ...process.env, BUN_JSC_logGC: "1" },
      stdout: "ignore",
      stderr: "pipe",
    },
  );
  expect(exitCode).toBe(0);
  const log = stderr.toString();
  const [begin, end] = [log.indexOf("=== begin"), log.indexOf("=== end")];
  expect(begin).toBeGreaterThan(-1);
  expect(end).toBeGreaterThan(begin);
  return log.slice(begin, end).split("START").length - 1;
}

test("moving entries allocates nothing: two million batches need no garbage collection", () => {
  expect(collections("relay")).toBe(0);
  // One small object for each would show.
  expect(collections("control")).toBeGreaterThan(0);
});

test("neither does the way of a kick and of an interrupt: a quarter of a million of each", () => {
  expect(collections("wired")).toBe(0);
});
