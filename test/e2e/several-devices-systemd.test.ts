import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { connectUnix, listenUnix } from "../../src/hw/ffi/unix-socket.ts";
import { Channel } from "../support/front-end/channel.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { eventually } from "../support/front-end/wait.ts";
import { ReceivingManager } from "../support/service-manager.ts";
import { Daemon, type DaemonOptions, ONCE_MS } from "./support/daemon.ts";
import { FrozenThreads } from "./support/frozen-threads.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** A directory of sockets, the file that describes their devices, and a service manager. */
function setUp(tables: Readonly<Record<string, string>>) {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-fleet-"));
  const manager = new ReceivingManager();
  cleanup.push(() => manager.close());
  cleanup.push(() => rmSync(directory, { recursive: true, force: true }));
  const config = join(directory, "devices.toml");
  const path = (name: string) => join(directory, name);
  const table = ([name, more]: [string, string]) =>
    `[[device]]\nsim = true\nsocket = "${path(name)}"\n${more}\n`;
  writeFileSync(config, Object.entries(tables).map(table).join(""));
  const start = async (options: DaemonOptions = {}) => {
    const env = { NOTIFY_SOCKET: manager.address, ...options.env };
    const ready = /^READY devices=/;
    const daemon = await Daemon.start({ device: ["--config", config], meeting: [], ready, ...options, env });
    cleanup.push(() => daemon.dispose());
    return daemon;
  };
  return { manager, path, start };
}

test("readiness and state are those of all devices, one of which can not be had at first", async () => {
  const { manager, path, start } = setUp({ a: "", "missing/b": "" });
  const daemon = await start();
  const { variables } = await manager.received({ READY: "1" }, ONCE_MS);
  expect(variables["STATUS"]).toMatch(
    /^1 of 2 devices served, 0 with a front-end; sim1 failed: .*does not exist/,
  );
  expect(manager.notices[0]!.variables).toEqual({ STATUS: "opening 2 devices" });
  mkdirSync(path("missing"));
  await manager.received({ STATUS: "2 of 2 devices served, 0 with a front-end" }, ONCE_MS);
  await wellBehaved({ socketPath: path("missing/b") });
  await manager.received({ STATUS: "2 of 2 devices served, 1 with a front-end" }, ONCE_MS);
  expect(await daemon.stop()).toBe(0);
  expect(manager.notices.at(-1)!.variables).toEqual({ STOPPING: "1", STATUS: "stopping" });
  expect(manager.count("READY")).toBe(1);
}, 60_000);

test("the watchdog is fed while a device is retried, and not while threads hang", async () => {
  const { manager, start } = setUp({ a: "", b: "", "missing/c": "" });
  const daemon = await start({ env: { WATCHDOG_USEC: "400000" } });
  const fedPast = (count: number) => eventually(() => manager.count("WATCHDOG") > count, ONCE_MS, "feeding");
  await fedPast(3);
  const frozen = FrozenThreads.freeze(daemon.pid);
  try {
    expect((await daemon.ask("stats", "--json")).code).toBe(0);
    const fed = manager.count("WATCHDOG");
    await Bun.sleep(1_500);
    expect((await daemon.ask("stats", "--json")).code).toBe(0);
    expect(manager.count("WATCHDOG")).toBe(fed);
    frozen.release();
    await fedPast(fed);
  } finally {
    frozen.release();
  }
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("passed sockets go to the devices whose paths they have, and others are closed", async () => {
  const { manager, path, start } = setUp({ a: "", b: "" });
  const fds = ["b", "other"].map((name) => listenUnix(path(name)));
  cleanup.push(() => fds.forEach(closeFd));
  const env = { LISTEN_FDS: "2", LISTEN_FDNAMES: "b.socket:other.socket" };
  const daemon = await start({ activated: true, fd: fds, env });
  await daemon.logged(/^warning: the passed socket "other.socket" \(.*other\) is not used$/);
  for (const name of ["a", "b"]) await wellBehaved({ socketPath: path(name) });
  expect(await daemon.stop()).toBe(0);
  expect(["a", "b"].map((name) => existsSync(path(name)))).toEqual([false, true]);
  expect(manager.count("FDSTORE")).toBe(0);
}, 60_000);

test("each kept socket outlives a failure of its device, and the service", async () => {
  const keep = "keep-socket = true";
  const { manager, path, start } = setUp({
    a: keep,
    b: `${keep}\nsim-fault = "release"\nsim-fault-later = true`,
  });
  const first = await start();
  await eventually(() => manager.count("FDSTORE") === 2, ONCE_MS, "both sockets");
  const kept = manager.notices.flatMap(({ fds }) => fds);
  const victim = await connectGuest({ socketPath: path("b"), pairs: 2 });
  await passFrames(victim);
  first.child.kill("SIGUSR2");
  await first.logged(/^error: sim1: sim1 was asked back by the kernel .*; next attempt in 1 s$/);
  victim.close();
  // Nobody serves it now, but it is there.
  const early = await connectGuest({ channel: new Channel(connectUnix(path("b"))) });
  await passFrames(early);
  early.close();
  await first.stop("SIGKILL");

  const waiting = ["a", "b"].map((name) => new Channel(connectUnix(path(name))));
  const env = { LISTEN_FDS: "2", LISTEN_FDNAMES: "vdpactl-listen:vdpactl-listen" };
  const second = await start({ activated: true, fd: kept, env });
  for (const channel of waiting) {
    const guest = await connectGuest({ channel });
    await passFrames(guest);
    guest.close();
  }
  expect(await second.stop()).toBe(0);
  expect(["a", "b"].map((name) => existsSync(path(name)))).toEqual([true, true]);
}, 90_000);
