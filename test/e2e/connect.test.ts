import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { sendWithFds } from "../../src/hw/ffi/fd-passing.ts";
import { listenUnix, unixSocketPair } from "../../src/hw/ffi/unix-socket.ts";
import { Channel, Listener } from "../support/front-end/channel.ts";
import { FrontEnd } from "../support/front-end/front-end.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { Daemon, type DaemonOptions, run } from "./support/daemon.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(options?: DaemonOptions): Promise<Daemon> {
  const daemon = await Daemon.start(options);
  cleanup.push(() => daemon.dispose());
  return daemon;
}

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "vdpactl-e2e-"));
  cleanup.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("READY names the socket, which takes connections at once", async () => {
  const daemon = await start();
  expect(daemon.out.filter((line) => line.startsWith("READY"))).toEqual([
    expect.stringContaining(daemon.socketPath),
  ]);
  expect(statSync(daemon.socketPath).isSocket()).toBe(true);
  const channel = await Channel.connect(daemon.socketPath, 0);
  expect(await new FrontEnd(channel).getFeatures()).toBeGreaterThan(0n);
  channel.close();
}, 60_000);

test("the number of queue pairs is right on the first connection", async () => {
  const daemon = await start({ args: ["--queues", "3"] });
  const fe = new FrontEnd(await Channel.connect(daemon.socketPath));
  await fe.getFeatures();
  await fe.getProtocolFeatures();
  await fe.setProtocolFeatures(1n);
  expect(await fe.getQueueNum()).toBe(3n);
  fe.close();
}, 60_000);

test("a second front-end is turned away and the first one does not notice", async () => {
  const daemon = await start();
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2 });
  cleanup.push(() => guest.close());
  const mark = daemon.log.length;
  const second = await Channel.connect(daemon.socketPath);
  await second.closed();
  second.close();
  await daemon.logged(/front-end/, mark);
  await passFrames(guest);
}, 60_000);

test("a front-end may come back fifty times, after any kind of farewell", async () => {
  const daemon = await start();
  await wellBehaved(daemon);
  await wellBehaved(daemon, { packed: true });
  await daemon.backTo({ fds: daemon.holdings().fds, maps: 0 });
  const rest = daemon.holdings();
  for (let i = 0; i < 50; i++) {
    const packed = i % 2 === 1;
    const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2, packed, ringSize: 64 });
    try {
      await passFrames(guest, { frames: 64 });
      if (i % 3 === 0) await guest.stop();
    } finally {
      guest.close();
    }
  }
  await daemon.backTo(rest);
  expect(await daemon.stop()).toBe(0);
}, 180_000);

test("as a client it connects, waits for a listener, and connects again for ever", async () => {
  const socketPath = join(directory(), "front-end.sock");
  const daemon = await start({ meeting: ["--socket", socketPath, "--client"] });
  for (let round = 0; round < 3; round++) {
    const listener = new Listener(socketPath);
    const channel = await listener.accept();
    const guest = await connectGuest({ channel, pairs: 2 });
    try {
      await passFrames(guest, { frames: 100 });
    } finally {
      guest.close();
      listener.close();
      rmSync(socketPath);
    }
  }
  expect(await daemon.stop()).toBe(0);
}, 120_000);

test("a client reconnects to a listener that stays", async () => {
  const socketPath = join(directory(), "front-end.sock");
  const listener = new Listener(socketPath);
  cleanup.push(() => listener.close());
  const daemon = await start({ meeting: ["--socket", socketPath, "--client"] });
  for (let round = 0; round < 3; round++) {
    const guest = await connectGuest({ channel: await listener.accept() });
    try {
      await passFrames(guest, { frames: 100 });
    } finally {
      guest.close();
    }
  }
  expect(await daemon.stop()).toBe(0);
  expect(statSync(socketPath).isSocket()).toBe(true);
}, 120_000);

test("--fd takes a listening socket", async () => {
  const socketPath = join(directory(), "given.sock");
  const fd = listenUnix(socketPath);
  const daemon = await start({ meeting: ["--fd", "3"], fd });
  closeFd(fd);
  await wellBehaved({ socketPath });
  await wellBehaved({ socketPath });
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("--fd takes a connected socket", async () => {
  const [ours, theirs] = unixSocketPair();
  const daemon = await start({ meeting: ["--fd", "3"], fd: theirs });
  closeFd(theirs);
  const guest = await connectGuest({ channel: new Channel(ours) });
  try {
    await passFrames(guest, { frames: 100 });
  } finally {
    guest.close();
  }
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("a connected socket whose front-end breaks the protocol ends with an exit code of its own", async () => {
  const [ours, theirs] = unixSocketPair();
  const daemon = await start({ meeting: ["--fd", "3"], fd: theirs });
  closeFd(theirs);
  sendWithFds(ours, new Uint8Array(64).fill(0xff));
  expect(await daemon.ended()).toBe(5);
  expect(daemon.log.join("\n")).toContain("announces a payload of 4294967295 bytes");
  closeFd(ours);
}, 60_000);

test("--print-capabilities says what it is, as JSON, and exits", async () => {
  const { code, out } = await run(["serve", "--print-capabilities"]);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ type: "net" });
}, 60_000);

test("--socket-mode and the conventional spelling --socket-path", async () => {
  const path = join(directory(), "mode.sock");
  const daemon = await start({ meeting: ["--socket-path", path], args: ["--socket-mode", "0660"] });
  expect(statSync(path).mode & 0o777).toBe(0o660);
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("a socket left behind by a killed daemon is taken over", async () => {
  const path = join(directory(), "stale.sock");
  const first = await start({ meeting: ["--socket", path] });
  await first.stop("SIGKILL");
  expect(statSync(path).isSocket()).toBe(true);
  const daemon = await start({ meeting: ["--socket", path] });
  await wellBehaved({ socketPath: path });
  expect(await daemon.stop()).toBe(0);
}, 60_000);

test("a socket that somebody serves is not taken away", async () => {
  const daemon = await start();
  const { code, err } = await run(["serve", "--sim", "--socket", daemon.socketPath]);
  expect(code).not.toBe(0);
  expect(err).toContain(daemon.socketPath);
  await wellBehaved(daemon);
}, 60_000);

test("a path that is no socket is left alone", async () => {
  const path = join(directory(), "file");
  writeFileSync(path, "precious");
  const { code, err } = await run(["serve", "--sim", "--socket", path]);
  expect(code).not.toBe(0);
  expect(err).toContain(path);
  expect(await Bun.file(path).text()).toBe("precious");
}, 60_000);

test("a path that is too long or in a missing directory is an error with a reason", async () => {
  const long = await run(["serve", "--sim", "--socket", `/tmp/${"x".repeat(120)}.sock`]);
  expect(long.code).not.toBe(0);
  expect(long.err).toMatch(/107|108/);
  const missing = await run(["serve", "--sim", "--socket", join(directory(), "none", "vhost.sock")]);
  expect(missing.code).not.toBe(0);
  expect(missing.err).toContain("none");
}, 60_000);

test("a front-end that says nothing keeps nobody out for longer than it stays", async () => {
  const daemon = await start();
  const silent = await Channel.connect(daemon.socketPath);
  await daemon.logged(/front-end connected/);
  const second = await Channel.connect(daemon.socketPath);
  await second.closed();
  second.close();
  silent.close();
  await wellBehaved(daemon);
}, 60_000);
