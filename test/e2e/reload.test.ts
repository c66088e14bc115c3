import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { listenUnix } from "../../src/hw/ffi/unix-socket.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { eventually } from "../support/front-end/wait.ts";
import { ReceivingManager } from "../support/service-manager.ts";
import { Daemon, type DaemonOptions, ONCE_MS } from "./support/daemon.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** A service whose settings are in a file. */
function setUp() {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-reload-"));
  const manager = new ReceivingManager();
  cleanup.push(() => manager.close());
  cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
  const config = join(directory, "settings.toml");
  const path = (name: string) => join(directory, name);
  /** Describes a device for each name; what is said of it is more of its settings. */
  const devices = (tables: Readonly<Record<string, string>>) =>
    Object.entries(tables)
      .map(([name, more]) => `[[device]]\nsim = true\nsocket = "${path(name)}"\n${more}\n`)
      .join("");
  const write = (text: string) => writeFileSync(config, text);
  const start = async (text: string, options: DaemonOptions = {}) => {
    write(text);
    const env = { NOTIFY_SOCKET: manager.address };
    const daemon = await Daemon.start({ device: ["--config", config], meeting: [], env, ...options });
    cleanup.push(() => daemon.dispose());
    return daemon;
  };
  /** Has the daemon read the file again and waits until it is done with that. */
  const reload = async (daemon: Daemon, text: string) => {
    const times = manager.count("READY");
    write(text);
    daemon.child.kill("SIGHUP");
    await eventually(() => manager.count("READY") > times, ONCE_MS, "the end of the reload");
  };
  return { manager, path, devices, start, reload };
}

const isServing = (status: string) => status.startsWith("serving a front-end");
const severally = { ready: /^READY devices=/ };

test("a reload is told to the manager from its beginning to its end", async () => {
  const { manager, path, start, reload } = setUp();
  const settings = `sim = true\nsocket = "${path("a")}"\n`;
  const daemon = await start(settings);
  await eventually(() => manager.count("READY") === 1, ONCE_MS, "readiness");
  const before = manager.notices.length;
  await reload(daemon, settings);
  const [first, last, ...more] = manager.notices.slice(before).map(({ variables }) => variables);
  expect(more).toEqual([]);
  expect(first).toMatchObject({ RELOADING: "1", STATUS: "reading the settings again" });
  expect(Number(first!["MONOTONIC_USEC"])).toBeGreaterThan(0);
  expect(last).toEqual({ READY: "1", STATUS: `waiting for a front-end at socket=${path("a")}` });
  await daemon.logged(/^the settings have been read again$/);
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("the log says more and less, in the serving thread too", async () => {
  const { manager, path, start, reload } = setUp();
  const settings = `sim = true\nsocket = "${path("a")}"\n`;
  const daemon = await start(`${settings}quiet = true\n`);
  // The manager hears that a front-end has gone after that was logged, or would have been.
  const visit = async () => {
    const before = manager.notices.length;
    await wellBehaved({ socketPath: path("a") });
    const said = () => manager.notices.slice(before).map(({ variables }) => variables["STATUS"] ?? "");
    const gone = () => said().some(isServing) && !isServing(said().at(-1)!);
    await eventually(gone, ONCE_MS, "the front-end to be gone");
  };
  await visit();
  await reload(daemon, settings);
  await visit();
  // The serving thread writes these lines.
  await daemon.logged(/^front-end disconnected$/);
  await reload(daemon, `${settings}quiet = true\n`);
  await visit();
  expect(await daemon.stop()).toBe(0);
  expect(daemon.log.filter((line) => line.startsWith("front-end"))).toEqual([
    "front-end connected",
    "front-end disconnected",
  ]);
}, 60_000);

test("wrong settings change nothing, and other ones of an only device are for the next start", async () => {
  const { path, start, reload } = setUp();
  const settings = `sim = true\nsocket = "${path("a")}"\n`;
  const daemon = await start(settings);
  await reload(daemon, `${settings}queus = 1\n`);
  await daemon.logged(/^error: the settings stay as they are: unknown key "queus"/);
  await reload(daemon, `sim = true\nsocket = "${path("b")}"\n`);
  await daemon.logged(/^warning: its new settings hold from the next start on/);
  await wellBehaved({ socketPath: path("a") });
  expect(existsSync(path("b"))).toBe(false);
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("of several devices one comes and one goes, while a guest on another does not notice", async () => {
  const { manager, path, devices, start, reload } = setUp();
  const daemon = await start(devices({ a: "", b: "" }), severally);
  const guest = await connectGuest({ socketPath: path("b") });
  await passFrames(guest);
  await reload(daemon, devices({ b: "", c: "" }));
  await manager.received({ STATUS: "2 of 2 devices served, 1 with a front-end" }, ONCE_MS);
  await passFrames(guest);
  await wellBehaved({ socketPath: path("c") });
  await eventually(() => !existsSync(path("a")), ONCE_MS, "the first socket to go");
  const shown = JSON.parse((await daemon.ask("stats", "--json")).out) as { meeting: { path: string } }[];
  expect(shown.map(({ meeting }) => meeting.path)).toEqual([path("b"), path("c")]);
  await passFrames(guest);
  guest.close();
  expect(daemon.log.filter((line) => line.includes("front-end disconnected")).length).toBeGreaterThan(0);
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("a device that is served keeps its settings, one that has failed gets the new ones", async () => {
  const { manager, path, devices, start, reload } = setUp();
  const daemon = await start(devices({ a: "", "missing/b": "" }), severally);
  await reload(daemon, devices({ a: "queues = 1", "missing/b": "queues = 1" }));
  await daemon.logged(/^warning: sim0: its new settings hold from the next start on/);
  await daemon.logged(/^sim1: is no longer to be served$/);
  mkdirSync(path("missing"));
  await manager.received({ STATUS: "2 of 2 devices served, 0 with a front-end" }, ONCE_MS);
  for (const name of ["a", "missing/b"]) {
    const guest = await connectGuest({ socketPath: path(name) });
    await passFrames(guest);
    guest.close();
  }
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("the kept socket of a device that goes is given up, those of the others stay", async () => {
  const { manager, path, devices, start, reload } = setUp();
  const keep = "keep-socket = true";
  const daemon = await start(devices({ a: keep, b: keep }), severally);
  await eventually(() => manager.count("FDSTORE") === 2, ONCE_MS, "both sockets");
  await reload(daemon, devices({ b: keep }));
  await manager.received({ FDSTOREREMOVE: "1", FDNAME: "vdpactl-listen" }, ONCE_MS);
  await eventually(() => manager.count("FDSTORE") === 3, ONCE_MS, "the other socket, again");
  expect(existsSync(path("a"))).toBe(false);
  await wellBehaved({ socketPath: path("b") });
  expect(await daemon.stop()).toBe(0);
  expect(existsSync(path("b"))).toBe(true);
}, 60_000);

test("a device that comes back finds the socket of its socket unit, and a new one where it had been kept", async () => {
  const { manager, path, devices, start, reload } = setUp();
  const fd = listenUnix(path("unit"));
  cleanup.push(() => closeFd(fd));
  const all = devices({ stays: "", unit: "", kept: "keep-socket = true" });
  const env = { LISTEN_FDS: "1", LISTEN_FDNAMES: "unit.socket", NOTIFY_SOCKET: manager.address };
  const daemon = await start(all, { ...severally, activated: true, fd, env });
  await reload(daemon, devices({ stays: "" }));
  await manager.received({ STATUS: `waiting for a front-end at socket=${path("stays")}` }, ONCE_MS);
  expect([existsSync(path("unit")), existsSync(path("kept"))]).toEqual([true, false]);
  await reload(daemon, all);
  await eventually(() => existsSync(path("kept")), ONCE_MS, "a new socket");
  for (const name of ["stays", "unit", "kept"]) await wellBehaved({ socketPath: path(name) });
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("without a file there is nothing to read, and the signal ends the process as usual", async () => {
  const daemon = await Daemon.start();
  cleanup.push(() => daemon.dispose());
  await daemon.stop("SIGHUP");
  expect(daemon.log).toContain("ended by SIGHUP");
}, 60_000);
