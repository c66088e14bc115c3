import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { ControlClient } from "../../src/daemon/control/control-client.ts";
import type { DeviceState } from "../../src/daemon/state/device-state.ts";
import { sleepingInEpoll, voluntarySwitches } from "../lab/harness/footprint.ts";
import { PageLog } from "../support/front-end/page-log.ts";
import { Request, words } from "../support/front-end/protocol.ts";
import { eventually } from "../support/front-end/wait.ts";
import { type Daemon, ONCE_MS, run } from "./support/daemon.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { readLines } from "./support/read-lines.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const { start, guestOf, atEnd } = forEachTest();

async function stats(daemon: Daemon): Promise<DeviceState> {
  const [state, ...others] = await daemon.askJson<DeviceState[]>("stats");
  expect(others).toEqual([]);
  return state!;
}

const FRAMES = 300;
const RING = 256;

for (const datapath of ["direct", "relay"] as const) {
  describe(`--datapath ${datapath}: exact counts`, () => {
    for (const packed of [false, true]) {
      test(packed ? "packed" : "split", async () => {
        const daemon = await start({ args: ["--datapath", datapath] });
        // Where each buffer takes one descriptor, a packed ring's flags show its position exactly.
        const guest = await guestOf(daemon, { packed, ringSize: RING, layouts: ["single"] });
        await passFrames(guest, { frames: FRAMES });
        const { queues } = await stats(daemon);
        const data = queues.filter(({ type }) => type !== "control");
        expect(data.map(({ index, type }) => `${index} ${type}`)).toEqual(["0 rx", "1 tx", "2 rx", "3 tx"]);
        for (const { type, mode, positions, counters, size, started, enabled } of data) {
          expect([mode, size, started, enabled]).toEqual([datapath, RING, true, true]);
          expect(positions?.used).toBe(packed ? FRAMES % RING : FRAMES);
          expect(positions?.used_wrap).toBe(packed ? false : null);
          // The driver has refilled what it received; what it sent is finished.
          const lag = type === "tx" ? 0 : guest.pairs[0]!.rx.ring.outstanding;
          expect(positions?.lag).toBe(lag);
          expect(counters?.relay_completed).toBe(datapath === "relay" ? FRAMES : 0);
        }
        const control = queues.find(({ type }) => type === "control");
        expect(control).toMatchObject({ index: 16, mode: "own", started: true });
      }, 60_000);
    }
  });
}

test("what a front-end has set up, and that it has gone", async () => {
  const daemon = await start();
  expect((await stats(daemon)).state).toBe("waiting");
  const guest = await guestOf(daemon, { pairs: 1 });
  const state = await stats(daemon);
  expect(state).toMatchObject({
    device: "sim",
    state: "running",
    pid: daemon.pid,
    meeting: { role: "server", path: daemon.socketPath, fd: null },
    link: "up",
    mac: "52:54:00:00:00:01",
    pairs: { device: 8, active: 1 },
    status: ["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"],
    held: false,
    logging: false,
    last_switch: null,
    refused_messages_by_kind: {},
  });
  expect(state.features.negotiated).toContain("VERSION_1");
  expect(state.protocol_features).toContain("REPLY_ACK");
  const bytes = guest.regions.reduce((sum, { description }) => sum + Number(description.size), 0);
  expect([state.memory.regions, state.memory.mapped_bytes]).toEqual([guest.regions.length, bytes]);
  expect(state.memory.mapping_ms).toBeGreaterThan(0);
  expect(state.start_ms).toBeGreaterThan(0);
  guest.close();
  await daemon.logged(/front-end disconnected/);
  expect(await stats(daemon)).toMatchObject({ state: "waiting", queues: [], memory: { regions: 0 } });
  await wellBehaved(daemon);
  expect((await stats(daemon)).reconnects).toBe(1);
}, 60_000);

test("refused messages are counted by kind, however many kinds a front-end invents", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon);
  const refused = async (request: number, payload: Uint8Array) =>
    expect(await guest.fe.ack(request, payload)).not.toBe(0n);
  await refused(Request.NET_SET_MTU, words(5n));
  await refused(Request.NET_SET_MTU, words(66_000n));
  for (let request = 1000; request < 1100; request++) await refused(request, words(0n));
  const { refused_messages_by_kind, counters } = await stats(daemon);
  expect(refused_messages_by_kind).toEqual({ NET_SET_MTU: 2, unknown: 100 });
  expect(counters.refused_messages).toBe(102);
}, 60_000);

test("logged pages are counted where they are marked", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon, { pairs: 1 });
  const log = new PageLog();
  atEnd(() => log.close());
  await guest.setLogging(log);
  await passFrames(guest, { frames: FRAMES });
  const state = await stats(daemon);
  expect([state.logging, state.last_switch?.to]).toEqual([true, "relay"]);
  const [rx, tx] = state.queues;
  // Each frame has a page of a receive buffer of its own until the buffers come round again.
  expect(rx!.counters!.pages_logged).toBeGreaterThanOrEqual(64);
  expect(tx!.counters!.pages_logged).toBeGreaterThanOrEqual(1);
  expect([rx!.counters!.log_failures, tx!.counters!.log_failures]).toEqual([0, 0]);
}, 60_000);

test("--watch counts every entry of a direct ring", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon, { pairs: 1 });
  const watch = daemon.spawn("stats", "--watch", "0.2", "--json");
  const lines = readLines(watch.stdout);
  await lines.next();
  const late = setTimeout(() => watch.kill(), 4 * ONCE_MS);
  // In all more than the ring's index counts, at once less than that: however late a look comes, it misses nothing.
  for (let sent = 30_000; sent <= 120_000; sent += 30_000) {
    await passFrames(guest, { frames: 30_000, from: sent });
    for (let seen = [0]; seen.some((entries) => entries !== sent); ) {
      const { value, done } = await lines.next();
      if (done) throw new Error("stats has ended");
      const [{ queues }] = JSON.parse(value) as [DeviceState];
      seen = queues.flatMap(({ traffic }) => traffic?.entries ?? []);
      for (const entries of seen) expect(entries).toBeLessThanOrEqual(sent);
    }
  }
  clearTimeout(late);
  expect(watch.exitCode).toBeNull();
  watch.kill("SIGINT");
  expect(await watch.exited).toBe(130);
}, 120_000);

test("--watch into a pipe appends a line for each interval", async () => {
  const daemon = await start();
  await guestOf(daemon);
  const watch = daemon.spawn("stats", "-w", "0.1");
  const lines = readLines(watch.stdout);
  for (let i = 0; i < 3; i++) {
    const { value } = await lines.next();
    expect(value).toMatch(/^\S+Z sim running rx 0\/s tx 0\/s relayed 0\/s logged 0\/s log failures 0$/);
  }
  await daemon.stop();
  // It ends with the last daemon.
  expect(await watch.exited).toBe(3);
}, 60_000);

test("being asked does not wake the serving thread", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon);
  await passFrames(guest, { frames: 50 });
  const threads = await eventually(
    () => {
      // The serving thread and the simulated device's.
      const asleep = sleepingInEpoll(daemon.pid);
      return asleep.length === 2 && asleep;
    },
    ONCE_MS,
    "two threads asleep",
  );
  const client = (await ControlClient.connect({
    pid: daemon.pid,
    path: join(daemon.runtimeDirectory, `${daemon.pid}.sock`),
  }))!;
  atEnd(() => client.close());
  const switches = () => threads.map((thread) => voluntarySwitches(daemon.pid, thread));
  const before = switches();
  for (let i = 0; i < 500; i++) await client.ask({ op: "state", rates: true });
  for (let i = 0; i < 10; i++) await stats(daemon);
  expect(switches()).toEqual(before);
  expect((await stats(daemon)).queues[1]!.positions?.used).toBe(50);
}, 60_000);

describe("several daemons", () => {
  test("are all shown; a verb for one device says which there are", async () => {
    const first = await start();
    const second = await start({ runtimeDirectory: first.runtimeDirectory });
    const states = await first.askJson<DeviceState[]>("stats");
    expect(states.map(({ pid }) => pid)).toEqual([first.pid, second.pid].sort((a, b) => a - b));
    const { code, err } = await first.ask("migrate", "prepare");
    expect(code).toBe(2);
    expect(err).toContain("error: which device is meant?");
    for (const { pid, socketPath } of [first, second])
      expect(err).toContain(`sim (pid ${pid}, ${socketPath})`);
    expect((await first.ask("migrate", "prepare", "--socket", second.socketPath)).code).toBe(0);
    const held = (await first.askJson<DeviceState[]>("stats")).filter((state) => state.held);
    expect(held.map(({ pid }) => pid)).toEqual([second.pid]);
  }, 60_000);

  test("what a killed one leaves is removed by whoever meets it", async () => {
    const first = await start();
    const second = await start({ runtimeDirectory: first.runtimeDirectory });
    const path = join(first.runtimeDirectory, `${first.pid}.sock`);
    await first.stop("SIGKILL");
    expect(existsSync(path)).toBe(true);
    expect((await stats(second)).pid).toBe(second.pid);
    expect(existsSync(path)).toBe(false);
    await second.stop();
    expect(existsSync(join(first.runtimeDirectory, `${second.pid}.sock`))).toBe(false);
    const { code, err } = await second.ask("stats");
    expect([code, err.split("\n")[0]]).toEqual([3, "error: no device is served"]);
  }, 60_000);
});

test("a device that is not served", async () => {
  const daemon = await start();
  const { code, err } = await daemon.ask("stats", "--pci", "00:1f.7");
  expect(code).toBe(3);
  expect(err).toContain("error: 0000:00:1f.7 is not served\n  why: these are: sim (pid ");
}, 60_000);

describe("the runtime directory", () => {
  test("and the socket are for one user alone", async () => {
    const daemon = await start();
    const path = join(daemon.runtimeDirectory, `${daemon.pid}.sock`);
    expect(statSync(daemon.runtimeDirectory).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  }, 60_000);

  test("that others may write to is not used: the daemon warns and serves, a client refuses", async () => {
    const holder = await start();
    chmodSync(holder.runtimeDirectory, 0o777);
    const daemon = await start({ runtimeDirectory: holder.runtimeDirectory });
    await daemon.logged(/warning: without a control socket.*others may write to it \(mode 0777\)/);
    await wellBehaved(daemon);
    const { code, err } = await daemon.ask("stats");
    expect(code).toBe(4);
    expect(err).toContain("is not safe to use");
  }, 60_000);
});

describe("metrics", () => {
  const checked = (text: string) => {
    const typed = new Set<string>();
    for (const line of text.trimEnd().split("\n")) {
      const [, name] = /^# TYPE (\S+) (?:counter|gauge)$/.exec(line) ?? [];
      if (name) typed.add(name);
      else if (!line.startsWith("# HELP ")) {
        const [, sampled] = /^(\w+)\{\w+="[^"]*"(?:,\w+="[^"]*")*\} -?\d+(?:\.\d+)?$/.exec(line) ?? [];
        expect([line, typed.has(sampled!)]).toEqual([line, true]);
      }
    }
    return text;
  };

  test("stats --prometheus", async () => {
    const daemon = await start({ args: ["--datapath", "relay"] });
    const guest = await guestOf(daemon, { pairs: 1 });
    await passFrames(guest, { frames: FRAMES });
    const { code, out } = await daemon.ask("stats", "--prometheus");
    expect(code).toBe(0);
    const labels = `device="sim",socket="${daemon.socketPath}"`;
    expect(checked(out)).toContain(
      `vdpactl_queue_relay_completed_total{${labels},queue="1",type="tx"} ${FRAMES}\n`,
    );
    expect(out).toContain(`vdpactl_device_running{${labels}} 1\n`);
  }, 60_000);

  test("serve --metrics unix:PATH", async () => {
    const folder = await start();
    const unix = join(folder.directory, "metrics.sock");
    const daemon = await start({ args: ["--metrics", `unix:${unix}`] });
    const guest = await guestOf(daemon, { pairs: 1 });
    const get = (path: string) => fetch(`http://localhost${path}`, { unix });
    await (await get("/metrics")).text();
    await passFrames(guest, { frames: 1000 });
    const answer = await get("/metrics");
    expect(answer.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
    const text = checked(await answer.text());
    expect(text).toMatch(/vdpactl_queue_entries_total\{.*queue="1",type="tx"\} 1000\n/);
    expect((await get("/")).status).toBe(404);
    // What a killed daemon left is no obstacle; one that lives is.
    const { code, err } = await run([
      "serve",
      "--sim",
      "--socket",
      join(folder.directory, "x"),
      "--metrics",
      `unix:${unix}`,
    ]);
    expect([code, err]).toEqual([4, expect.stringContaining("another process listens there")]);
    await daemon.stop("SIGKILL");
    const next = await start({ args: ["--metrics", `unix:${unix}`] });
    expect(await next.stop()).toBe(0);
    expect(existsSync(unix)).toBe(false);
  }, 60_000);

  test("an address that can not be had ends serve with a reason", async () => {
    const daemon = await start({ args: ["--metrics", "127.0.0.1:0"] });
    const line = await daemon.logged(/metrics at http:\/\/127\.0\.0\.1:\d+\/metrics/);
    const [, url, port] = /(http:\S+:(\d+)\/metrics)/.exec(line)!;
    expect((await fetch(url!)).status).toBe(200);
    const args = ["serve", "--sim", "--socket", join(daemon.directory, "x"), "--metrics"];
    const { code, err } = await run([...args, `127.0.0.1:${port}`]);
    expect(code).toBe(3);
    expect(err).toContain(`error: metrics can not be served at 127.0.0.1:${port}`);
    expect((await run([...args, "9100"])).code).toBe(2);
  }, 60_000);
});
