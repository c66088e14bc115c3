import { afterEach, expect, test } from "bun:test";
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectGuest } from "../support/front-end/guest.ts";
import { BINARY, Daemon, run } from "./support/daemon.ts";
import { passFrames } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** What a command writes to a standard error that it takes for the journal. */
async function toJournal(...args: readonly string[]): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-journal-"));
  cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "journal");
  const fd = openSync(path, "w");
  const { dev, ino } = fstatSync(fd, { bigint: true });
  const env = { ...process.env, JOURNAL_STREAM: `${dev}:${ino}` };
  const child = Bun.spawn([BINARY, ...args], { env, stdin: "ignore", stdout: "ignore", stderr: fd });
  await child.exited;
  closeSync(fd);
  return readFileSync(path, "utf8").trimEnd().split("\n");
}

const UNSERVABLE = ["serve", "--sim", "--socket", "/proc/none/vh.sock", "--runtime-dir", "/proc/none"];

test("in the journal each line has its priority, of the log and of the error at the end", async () => {
  const lines = await toJournal(...UNSERVABLE);
  expect(lines.at(-1)).toStartWith("<3>socket path /proc/none/vh.sock: the directory /proc/none/ does not");
  for (const line of lines) expect(line).toMatch(/^<[346]>\S/);
  for (const line of await toJournal(...UNSERVABLE, "--log-format", "json")) {
    const [, priority, json] = /^<([346])>(\{.*\})$/.exec(line)!;
    expect(JSON.parse(json!)).toMatchObject({ level: { 3: "error", 4: "warn", 6: "info" }[priority!] });
  }
});

test("the variable asks for JSON too, for every verb and for wrong arguments", async () => {
  const env = { VDPACTL_LOG_FORMAT: "json" };
  for (const args of [
    UNSERVABLE,
    ["stats", "--xyzzy"],
    ["bind"],
    ["migrate", "cancel", "--pci", "ff:1f.7"],
  ]) {
    const { code, err } = await run(args, { ...env, VDPACTL_RUNTIME_DIR: "/proc/none" });
    const lines = err.trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(0);
    const last = lines.map((line) => JSON.parse(line) as object).at(-1);
    expect(last).toMatchObject({ level: "error", event: "command_failed", exit_code: code });
  }
});

test("a daemon's lines as JSON, from all of its threads", async () => {
  const args = ["--log-format", "json", "--verbose", "--datapath", "relay", "--relay-threads", "1"];
  const daemon = await Daemon.start({ args: [...args, "--sim-fault", "used-twice"] });
  cleanup.push(() => daemon.dispose());
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 1 });
  // The frames do not come back, which is what was ordered.
  const traffic = passFrames(guest, { frames: 20 }).catch(() => {});
  await daemon.logged(/"ring_fault"/);
  guest.close();
  await traffic;
  expect(await daemon.stop()).toBe(0);
  const lines = daemon.log.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(new Set(lines.map(({ device }) => device))).toEqual(new Set(["sim"]));
  const fault = lines.find(({ event }) => event === "ring_fault");
  expect([fault?.["level"], fault?.["side"], typeof fault?.["queue"]]).toEqual(["error", "device", "number"]);
}, 60_000);
