import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { warmUpRelays } from "../../../src/relay/warm-up.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

test("warming up leaves nothing behind and says nothing", () => {
  const log = new CollectedLog();
  warmUpRelays(log);
  const before = readdirSync("/proc/self/fd").length;
  warmUpRelays(log);
  expect(readdirSync("/proc/self/fd").length).toBe(before);
  expect(readFileSync("/proc/self/maps", "utf8")).not.toContain("vdpactl-warm-up");
  expect(log.lines).toEqual([]);
});
