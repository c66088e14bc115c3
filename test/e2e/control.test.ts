import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { ControlClient } from "../../src/daemon/control/control-client.ts";
import { CLIENTS_MAX } from "../../src/daemon/control/control-server.ts";
import type { DeviceState } from "../../src/daemon/state/device-state.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import { eventually } from "../support/front-end/wait.ts";
import { BINARY, Daemon, ONCE_MS } from "./support/daemon.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(): Promise<Daemon> {
  const daemon = await Daemon.start();
  cleanup.push(() => daemon.dispose());
  return daemon;
}

const pathOf = (daemon: Daemon) => join(daemon.runtimeDirectory, `${daemon.pid}.sock`);

/** A client that keeps to no rules. */
class Rude {
  text = "";
  closed = false;

  private constructor(readonly socket: Socket) {
    socket.on("data", (bytes) => {
      this.text += String(bytes);
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
    cleanup.push(() => socket.destroy());
  }

  static async connect(daemon: Daemon): Promise<Rude> {
    const socket = connect(pathOf(daemon));
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new Rude(socket);
  }

  get lines(): string[] {
    return this.text.split("\n").slice(0, -1);
  }

  async answers(
    count: number,
  ): Promise<{ ok: boolean; error?: { what: string; why?: string; kind: string } }[]> {
    await eventually(() => this.lines.length >= count || this.closed, ONCE_MS, `${count} answers`);
    return this.lines.map((line) => JSON.parse(line));
  }
}

/** A polite client is served, and what the rude ones held is given back. */
async function isWell(daemon: Daemon, rest: ReturnType<Daemon["holdings"]>): Promise<void> {
  daemon.assertAlive();
  const [state] = await daemon.askJson<DeviceState[]>("stats");
  expect(state!.pid).toBe(daemon.pid);
  await daemon.backTo(rest);
}

const STATE = '{"v":1,"op":"state"}\n';

describe("requests that are none", () => {
  const cases: [string, string, RegExp][] = [
    ["no JSON", "hello", /it is no JSON/],
    ["an empty line", "", /it is no JSON/],
    ["another kind of JSON", "[1]", /speaks version 1/],
    ["no version", '{"op":"state"}', /speaks version 1/],
    ["another version", '{"v":2,"op":"state"}', /speaks version 1/],
    ["an unknown operation", '{"v":1,"op":"reboot"}', /op: /],
    ["a missing key", '{"v":1,"op":"hold"}', /relay: /],
    ["a wrong type", '{"v":1,"op":"hold","relay":"yes"}', /relay: /],
    ["an unknown key", '{"v":1,"op":"state","force":true}', /force: /],
    ["no PCI address", '{"v":1,"op":"move","to":"../../etc"}', /to: /],
    ["a device that is not there", '{"v":1,"op":"hold","relay":true,"device":"x"}', /this daemon serves sim/],
    ["__proto__", '{"v":1,"op":"__proto__"}', /op: /],
    ["broken UTF-8", '{"v":1,"op":"\xff\xfe"}', /op: /],
  ];
  test("are answered with what is wrong, and the connection goes on", async () => {
    const daemon = await start();
    const rest = daemon.holdings();
    const client = await Rude.connect(daemon);
    for (const [, line] of cases) client.socket.write(`${line}\n`, "latin1");
    client.socket.write(STATE);
    const answers = await client.answers(cases.length + 1);
    for (const [i, [name, , why]] of cases.entries()) {
      expect([name, answers[i]!.ok, answers[i]!.error!.kind]).toEqual([name, false, "usage"]);
      expect(answers[i]!.error!.why).toMatch(why);
    }
    expect(answers.at(-1)!.ok).toBe(true);
    client.socket.destroy();
    await isWell(daemon, rest);
  }, 60_000);
});

test("a request without an end is cut off", async () => {
  const daemon = await start();
  const rest = daemon.holdings();
  const client = await Rude.connect(daemon);
  client.socket.write("x".repeat(5000));
  const [answer] = await client.answers(1);
  expect(answer!.error!.what).toBe("a request has at most 4096 bytes");
  await eventually(() => client.closed, ONCE_MS, "the end");
  const flood = await Rude.connect(daemon);
  const megabyte = "y".repeat(1 << 20);
  for (let i = 0; i < 64 && !flood.closed; i++) {
    flood.socket.write(megabyte);
    await Bun.sleep(0);
  }
  await eventually(() => flood.closed, ONCE_MS, "the end");
  await isWell(daemon, rest);
}, 60_000);

test("byte by byte is as good as at once; an answer comes after the client has closed its side", async () => {
  const daemon = await start();
  const rest = daemon.holdings();
  const client = await Rude.connect(daemon);
  for (const byte of STATE) {
    client.socket.write(byte);
    await Bun.sleep(0);
  }
  expect((await client.answers(1))[0]!.ok).toBe(true);
  const leaving = await Rude.connect(daemon);
  leaving.socket.end(STATE);
  expect((await leaving.answers(1))[0]!.ok).toBe(true);
  client.socket.end('{"v":1,"op":"sta');
  await isWell(daemon, rest);
}, 60_000);

test("many requests at once are all answered, in their order", async () => {
  const daemon = await start();
  const rest = daemon.holdings();
  const client = await Rude.connect(daemon);
  const hold = (relay: boolean) => `{"v":1,"op":"hold","relay":${relay}}\n`;
  client.socket.write((hold(true) + STATE + hold(false) + STATE).repeat(100));
  const answers = (await client.answers(400)) as unknown as {
    result: { held?: boolean; devices?: DeviceState[] };
  }[];
  expect(answers).toHaveLength(400);
  const held = answers.map(({ result }) => result.held ?? result.devices?.[0]?.held);
  expect(held).toEqual(Array.from({ length: 400 }, (_, i) => i % 4 < 2));
  client.socket.destroy();
  await isWell(daemon, rest);
}, 60_000);

test("a client that never reads its answers is given up", async () => {
  const daemon = await start();
  const rest = daemon.holdings();
  const client = await Rude.connect(daemon);
  client.socket.pause();
  for (let i = 0; i < 500; i++) {
    client.socket.write(STATE.repeat(40));
    await Bun.sleep(0);
  }
  // Its connection goes, although it has not closed it.
  await isWell(daemon, rest);
}, 120_000);

test("more clients than there is room for are turned away, and the others are not", async () => {
  const daemon = await start();
  const rest = daemon.holdings();
  const clients: Rude[] = [];
  for (let i = 0; i < CLIENTS_MAX + 20; i++) {
    // One that is turned away may see it when connecting already.
    const client = await Rude.connect(daemon).catch(() => undefined);
    if (client) clients.push(client);
  }
  await daemon.logged(/turned away: too many clients/);
  const open = () => clients.filter(({ closed }) => !closed);
  await eventually(() => open().length === CLIENTS_MAX, ONCE_MS, "all but the room to be turned away");
  const kept = open()[0]!;
  kept.socket.write(STATE);
  expect((await kept.answers(1))[0]!.ok).toBe(true);
  for (const client of clients) client.socket.destroy();
  await isWell(daemon, rest);
}, 60_000);

test("connections that come and go in the middle of requests, under traffic", async () => {
  const daemon = await start();
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 1 });
  cleanup.push(() => guest.close());
  const rest = daemon.holdings();
  let done = false;
  const traffic = exchange(guest, { until: () => done });
  for (let i = 0; i < 300; i++) {
    // So many at once are turned away in part, which may show when connecting already.
    const client = await Rude.connect(daemon).catch(() => undefined);
    const line = `{"v":1,"op":"hold","relay":${i % 2 === 0}}\n`;
    client?.socket.write(line.slice(0, i % (line.length + 1)));
    client?.socket.destroy();
  }
  await isWell(daemon, rest);
  done = true;
  expect(trafficProblem(await traffic)).toBeUndefined();
}, 120_000);

test("other users are turned away, whatever the modes of the files say", async () => {
  if (process.getuid!() !== 0) throw new Error("this test must become another user: run it as root");
  const daemon = await start();
  chmodSync(daemon.directory, 0o711);
  chmodSync(daemon.runtimeDirectory, 0o711);
  chmodSync(pathOf(daemon), 0o666);
  const script = `import { connect } from "node:net";
    const socket = connect(${JSON.stringify(pathOf(daemon))});
    socket.on("connect", () => socket.write(${JSON.stringify(STATE)}));
    socket.on("data", (bytes) => console.log(String(bytes)));
    socket.on("error", (error) => console.log(error.code));
    socket.on("close", () => process.exit(0));`;
  const child = Bun.spawn(
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BINARY, "-e", script],
    {
      env: { BUN_BE_BUN: "1", PATH: process.env["PATH"] ?? "", HOME: "/nonexistent" },
      stdout: "pipe",
      stderr: "pipe",
      cwd: "/",
    },
  );
  const late = setTimeout(() => child.kill("SIGKILL"), ONCE_MS);
  const out = await new Response(child.stdout).text();
  // Nothing, or that the connection was cut.
  expect([await child.exited, out.trim()]).toEqual([0, expect.stringMatching(/^(ECONNRESET|EPIPE)?$/)]);
  clearTimeout(late);
  await daemon.logged(/turned away: process \d+ runs as user 65534/);
}, 60_000);

test("a client whose daemon dies learns of it", async () => {
  const daemon = await start();
  const client = (await ControlClient.connect({ pid: daemon.pid, path: pathOf(daemon) }))!;
  cleanup.push(() => client.close());
  await client.ask({ op: "state" });
  await daemon.stop("SIGKILL");
  expect(client.ask({ op: "state" })).rejects.toThrow(`the daemon with pid ${daemon.pid} has gone`);
}, 60_000);
