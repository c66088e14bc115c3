import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { connectUnix, listenUnix } from "../../src/hw/ffi/unix-socket.ts";
import { Channel } from "../support/front-end/channel.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { ReceivingManager } from "../support/service-manager.ts";
import { Daemon, type DaemonOptions, ONCE_MS, run } from "./support/daemon.ts";
import { FrozenThreads } from "./support/frozen-threads.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function receiving(abstract = false): ReceivingManager {
  const manager = new ReceivingManager(abstract);
  cleanup.push(() => manager.close());
  return manager;
}

async function start(manager: ReceivingManager, options: DaemonOptions = {}): Promise<Daemon> {
  const env = { NOTIFY_SOCKET: manager.address, ...options.env };
  const daemon = await Daemon.start({ ...options, env });
  cleanup.push(() => daemon.dispose());
  return daemon;
}

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "vdpactl-"));
  cleanup.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("a service tells when it is ready, whom it serves and that it stops", async () => {
  const manager = receiving(true);
  const daemon = await start(manager);
  const at = `at socket=${daemon.socketPath}`;
  await manager.received({ READY: "1", STATUS: `waiting for a front-end ${at}` }, ONCE_MS);
  expect(manager.notices[0]!.variables).toEqual({ STATUS: "opening sim" });
  await wellBehaved(daemon);
  await manager.received({ STATUS: `serving a front-end ${at}` }, ONCE_MS);
  expect(await daemon.stop()).toBe(0);
  expect(manager.notices.at(-1)!.variables).toEqual({ STOPPING: "1", STATUS: "stopping" });
  expect(manager.count("READY")).toBe(1);
  // Nobody asked for it.
  expect(manager.count("WATCHDOG")).toBe(0);
  expect(manager.count("FDSTORE")).toBe(0);
}, 60_000);

test("a service that can not start tells why", async () => {
  const manager = receiving();
  const { code } = await run(["serve", "--sim", "--socket", "/nowhere/vhost.sock"], {
    NOTIFY_SOCKET: manager.address,
    VDPACTL_RUNTIME_DIR: directory(),
  });
  expect(code).toBe(3);
  expect(manager.count("READY")).toBe(0);
  expect(manager.notices.at(-1)!.variables["STATUS"]).toContain("/nowhere/ does not exist");
}, 60_000);

test("the watchdog is fed, not while the serving thread hangs, and again once it goes on", async () => {
  const manager = receiving();
  const daemon = await start(manager, { env: { WATCHDOG_USEC: "400000" } });
  await manager.received({ WATCHDOG: "1" }, ONCE_MS);
  const frozen = FrozenThreads.freeze(daemon.pid);
  try {
    // Main lives and answers; what the thread had answered before is fed by then.
    expect((await daemon.ask("stats", "--json")).code).toBe(0);
    const fed = manager.count("WATCHDOG");
    await Bun.sleep(1_500);
    expect((await daemon.ask("stats", "--json")).code).toBe(0);
    expect(manager.count("WATCHDOG")).toBe(fed);
    frozen.release();
    const more = () => manager.count("WATCHDOG") > fed;
    for (const end = performance.now() + ONCE_MS; !more() && performance.now() < end; ) await Bun.sleep(10);
    expect(more()).toBe(true);
  } finally {
    frozen.release();
  }
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("a socket that the manager opened is served, and stays when the service ends", async () => {
  const manager = receiving();
  const socketPath = join(directory(), "given.sock");
  const fd = listenUnix(socketPath);
  cleanup.push(() => closeFd(fd));
  const activation = { meeting: [], activated: true, fd, socketPath };
  const env = { LISTEN_FDS: "1", LISTEN_FDNAMES: "vdpactl@x.socket" };
  for (let round = 0; round < 2; round++) {
    const daemon = await start(manager, { ...activation, env });
    await wellBehaved({ socketPath });
    expect(await daemon.stop()).toBe(0);
    expect(existsSync(socketPath)).toBe(true);
  }
  expect(manager.count("FDSTORE")).toBe(0);
}, 60_000);

test("a kept socket outlives a killed service: who connects meanwhile is served by the next", async () => {
  const manager = receiving();
  const socketPath = join(directory(), "vhost.sock");
  const args = ["--keep-socket"];
  const meeting = ["--socket", socketPath];
  const first = await start(manager, { args, meeting, socketPath });
  const { fds } = await manager.received({ FDSTORE: "1", FDNAME: "vdpactl-listen" }, ONCE_MS);
  await wellBehaved(first);
  await first.stop("SIGKILL");

  const waiting = new Channel(connectUnix(socketPath));
  const env = { LISTEN_FDS: "1", LISTEN_FDNAMES: "vdpactl-listen" };
  const second = await start(manager, { args, meeting, socketPath, activated: true, fd: fds[0]!, env });
  const guest = await connectGuest({ channel: waiting });
  try {
    await passFrames(guest, { frames: 100 });
  } finally {
    guest.close();
  }
  expect(await second.stop()).toBe(0);
  expect(existsSync(socketPath)).toBe(true);

  // Without the flag the socket is the service's own again, and goes with it.
  const third = await start(manager, { meeting, socketPath, activated: true, fd: fds[0]!, env });
  await wellBehaved(third);
  expect(await third.stop()).toBe(0);
  expect(existsSync(socketPath)).toBe(false);
}, 90_000);

test("--keep-socket without a manager is refused", async () => {
  const { code, err } = await run(["serve", "--sim", "--socket", "/tmp/never.sock", "--keep-socket"], {
    NOTIFY_SOCKET: "",
  });
  expect(code).toBe(2);
  expect(err).toContain("--keep-socket without a service manager");
}, 60_000);
