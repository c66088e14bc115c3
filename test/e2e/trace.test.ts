import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LOG_EVENTS } from "../../src/hw/log-events.ts";
import { Channel } from "../support/front-end/channel.ts";
import { connectGuest, type Guest, type GuestOptions } from "../support/front-end/guest.ts";
import { message, Request, words } from "../support/front-end/protocol.ts";
import { Daemon, type DaemonOptions } from "./support/daemon.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(options: DaemonOptions): Promise<Daemon> {
  const daemon = await Daemon.start(options);
  cleanup.push(() => daemon.dispose());
  return daemon;
}

async function guestOf(socketPath: string, options: GuestOptions = {}): Promise<Guest> {
  const guest = await connectGuest({ socketPath, pairs: 2, ...options });
  cleanup.push(() => guest.close());
  return guest;
}

const traceOf = (daemon: Daemon) =>
  daemon.log.flatMap((line) => (line.startsWith("trace: ") ? [line.slice(7)] : []));

/** Each pattern is met, one after the other. */
function expectInOrder(lines: readonly string[], patterns: readonly (string | RegExp)[]): void {
  let at = 0;
  for (const pattern of patterns) {
    const found = lines.findIndex(
      (line, i) => i >= at && (typeof pattern === "string" ? line === pattern : pattern.test(line)),
    );
    if (found < 0) throw new Error(`no ${pattern} after line ${at} of:\n${lines.join("\n")}`);
    at = found + 1;
  }
}

/** One session, from its first message to the reset of the device. */
async function session(daemon: Daemon, options: GuestOptions = {}): Promise<void> {
  const guest = await guestOf(daemon.socketPath, options);
  await passFrames(guest);
  await guest.stop();
  guest.close();
  await daemon.logged(/front-end disconnected|"front_end_disconnected"/);
  expect(await daemon.stop()).toBe(0);
}

test("a session from the first message to the reset, each line readable by itself", async () => {
  const daemon = await start({ args: ["--trace"] });
  await session(daemon);
  const lines = traceOf(daemon);
  expectInOrder(lines, [
    "<- GET_FEATURES",
    /^-> GET_FEATURES reply: u64=0x\w+ features=\[LOG_ALL PROTOCOL_FEATURES .*\bVERSION_1\b.*\]$/,
    /^<- SET_PROTOCOL_FEATURES: u64=0x\w+ features=\[MQ .*\bREPLY_ACK\b.*\]$/,
    "<- SET_OWNER need_reply",
    "-> SET_OWNER reply: ack=ok",
    /^<- ADD_MEM_REG need_reply fds=1: region=\(guest_phys_addr=0x0 memory_size=0x\w+ userspace_addr=0x\w+ mmap_offset=0x0\)$/,
    "<- SET_VRING_NUM need_reply: index=0 num=256",
    /^<- SET_VRING_ADDR need_reply: index=0 desc_user_addr=0x\w+ used_user_addr=0x\w+ avail_user_addr=0x\w+ /,
    "<- SET_VRING_KICK need_reply fds=1: index=0 nofd=false",
    "<- SET_STATUS need_reply: u64=0xf status=[ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK]",
    "register device_status = 0x0",
    "register device_status = 0x3 [ACKNOWLEDGE DRIVER]",
    /^register guest_feature = 0x\w+ \[VERSION_1 .*\]$/,
    "register queue_size = 256 (queue 3)",
    "register queue_enable = 1 (queue 3)",
    "register device_status = 0xf [ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK]",
    "control command VQ_PAIRS_SET 2: ok",
    /^function doorbell of queue 0 connected to eventfd \d+$/,
    "register queue_notify = 0",
    "-> SET_STATUS reply: ack=ok",
    "<- GET_VRING_BASE: index=0 num=0",
    /^-> GET_VRING_BASE reply: index=0 num=\d+$/,
    "register device_status = 0x0",
    "function given back",
  ]);
  // Whoever counts answers: one for each message that wants one.
  const count = (pattern: RegExp) => lines.filter((line) => pattern.test(line)).length;
  expect(count(/^-> .* reply/)).toBe(count(/^<- (GET_|.* need_reply)/));
}, 60_000);

test("as JSON each line is an object with the same in its fields, of the log too", async () => {
  const daemon = await start({ args: ["--trace", "--log-format", "json"] });
  await session(daemon);
  const lines = daemon.log.map((line) => JSON.parse(line) as Record<string, unknown>);
  for (const line of lines) {
    expect(`${line["time"]}`).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(`${line["level"]}`).toMatch(/^(trace|debug|info|warn|error)$/);
    expect(LOG_EVENTS).toHaveProperty(`${line["event"]}`);
    expect(line["text"]).toBeString();
  }
  const first = (wanted: Record<string, unknown>) =>
    lines.find((line) => Object.entries(wanted).every(([key, value]) => line[key] === value));
  expect(first({ event: "front_end_connected" })).toMatchObject({ level: "info", device: "sim" });
  expect(first({ event: "vhost_user_message", message: "SET_VRING_NUM" })).toMatchObject({
    level: "trace",
    device: "sim",
    channel: "main",
    direction: "in",
    flags: ["need_reply"],
    fds: 0,
    payload: { index: 0, num: 256 },
  });
  expect(first({ event: "register_write", register: "queue_enable" })).toMatchObject({ value: 1, queue: 16 });
  expect(first({ event: "control_command" })).toMatchObject({ queue: 16, answer: "ok" });
  expect(first({ event: "queue_state" })).toMatchObject({ queue: 0, type: "rx", mode: "direct" });
  expect(first({ event: "front_end_disconnected" })).not.toHaveProperty("reason");
}, 60_000);

test("without it there is none, and with it even where the log says little", async () => {
  const without = await start({ args: ["--verbose"] });
  await session(without);
  expect(traceOf(without)).toEqual([]);
  const quiet = await start({ args: ["--trace", "--quiet"] });
  await wellBehaved(quiet);
  expect(await quiet.stop()).toBe(0);
  expect(quiet.log.filter((line) => !line.startsWith("trace: "))).toEqual([]);
  expectInOrder(traceOf(quiet), ["<- SET_OWNER need_reply", "register queue_notify = 0"]);
}, 60_000);

test("with rings in relay threads", async () => {
  const daemon = await start({ args: ["--trace", "--datapath", "relay", "--relay-threads", "2"] });
  await session(daemon, { packed: true });
  expectInOrder(traceOf(daemon), [
    /^register guest_feature = 0x\w+ \[VERSION_1 .*RING_PACKED.*\]$/,
    "register queue_enable = 1 (queue 0)",
    /^-> GET_VRING_BASE reply: index=0 num=0x\w+ avail=\(at=\d+ wrap=[01]\) used=\(at=\d+ wrap=[01]\)$/,
  ]);
}, 60_000);

test("of several devices, those that are asked for, each line with its device", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-trace-"));
  cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
  const tables = ["a", "b", "c"].map(
    (name) => `[[device]]\nsim = true\nsocket = "${join(directory, name)}"\ntrace = ${name !== "b"}\n`,
  );
  const config = join(directory, "devices.toml");
  writeFileSync(config, `log-format = "json"\n${tables.join("")}`);
  const daemon = await start({ device: ["--config", config], meeting: [], ready: /^READY devices=/ });
  await Promise.all(["a", "b", "c"].map((name) => wellBehaved({ socketPath: join(directory, name) })));
  expect(await daemon.stop()).toBe(0);
  const lines = daemon.log.map((line) => JSON.parse(line) as Record<string, string>);
  const devices = (event: string) =>
    [...new Set(lines.filter((line) => line["event"] === event).map((line) => line["device"]))].sort();
  expect(devices("front_end_connected")).toEqual(["sim0", "sim1", "sim2"]);
  for (const event of ["vhost_user_message", "register_write", "control_command", "function_call"]) {
    expect(devices(event)).toEqual(["sim0", "sim2"]);
  }
}, 60_000);

describe("a hostile front-end", () => {
  const RUBBISH: readonly [string, Uint8Array][] = [
    ["an unknown request", message(99, new Uint8Array(4096).fill(0x1b))],
    ["a short payload", message(Request.SET_VRING_ADDR, Uint8Array.of(0x1b, 0x5d, 0x30, 0x07))],
    ["a table that promises too much", message(Request.SET_MEM_TABLE, words(0xffff_ffff, 0))],
    ["rubbish", new Uint8Array(4096).fill(0x9b)],
    ["escapes as a configuration", message(Request.SET_CONFIG, new Uint8Array(300).fill(0x1b))],
  ];
  for (const format of ["text", "json"] as const) {
    test(`writes nothing but short lines of plain characters into the ${format}`, async () => {
      const daemon = await start({ args: ["--trace", "--log-format", format] });
      for (const [, bytes] of RUBBISH) {
        const channel = await Channel.connect(daemon.socketPath);
        await channel.send(bytes);
        await channel.closed();
        channel.close();
      }
      await wellBehaved(daemon);
      expect(await daemon.stop()).toBe(0);
      for (const line of daemon.log) {
        expect(line).toMatch(/^[\x20-\x7e…]{1,4096}$/);
        if (format === "json") JSON.parse(line);
      }
      expect(daemon.log.filter((line) => line.includes("request 99")).length).toBeGreaterThan(1);
    }, 60_000);
  }
});
