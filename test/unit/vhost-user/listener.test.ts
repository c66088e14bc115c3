import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { createEventfd } from "../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { acceptUnix, connectUnix, listenUnix, unixSocketPair } from "../../../src/hw/ffi/unix-socket.ts";
import { FrontEndServer } from "../../../src/vhost-user/listener.ts";
import { REQUEST } from "../../../src/vhost-user/protocol.ts";
import { CollectedLog } from "../memory/collected-log.ts";
import { FakeDevice } from "./support/fake-device.ts";
import { Peer } from "./support/peer.ts";
import { frame, u32s } from "./support/wire.ts";

let directory: string;
let path: string;
let loop: EventLoop;
let log: CollectedLog;
let server: FrontEndServer;
let events: string[];
let counted: Record<string, number>;
let fdsAtStart: number;

const openFds = () => readdirSync("/proc/self/fd").length;

function newServer(): FrontEndServer {
  return new FrontEndServer({
    loop,
    device: new FakeDevice(log),
    log,
    counters: {
      add: (name, n = 1) => {
        counted[name] = (counted[name] ?? 0) + n;
      },
    },
    onListening: () => void events.push("listening"),
    onConnect: () => void events.push("connect"),
    onDisconnect: () => void events.push("disconnect"),
    onEnd: () => void events.push("end"),
  });
}

beforeEach(() => {
  fdsAtStart = openFds();
  directory = mkdtempSync("/tmp/vdpactl-test-");
  path = `${directory}/vhost.sock`;
  loop = new EventLoop();
  log = new CollectedLog();
  events = [];
  counted = {};
  server = newServer();
});

afterEach(() => {
  server.close();
  loop.close();
  rmSync(directory, { recursive: true });
  expect(openFds()).toBe(fdsAtStart);
});

const peerOf = () => new Peer(loop, connectUnix(path));
const works = (peer: Peer) => expect(peer.get(REQUEST.GET_QUEUE_NUM)).toBe(4n);

function until(reached: () => boolean): void {
  while (!reached()) expect(loop.runOnce(20_000)).toBeGreaterThan(0);
}

describe("another device", () => {
  const smaller = () => Object.assign(new FakeDevice(log), { getQueueNum: () => 2 });
  const queueNum = (peer: Peer) => peer.get(REQUEST.GET_QUEUE_NUM);

  test("serves the connected front-end, and those that come later", () => {
    server.listen(path);
    const first = peerOf();
    works(first);
    let moved = 0;
    server.moveTo(smaller(), () => moved++);
    expect(moved).toBe(1);
    expect(queueNum(first)).toBe(2n);
    first.close();
    const second = peerOf();
    expect(queueNum(second)).toBe(2n);
    second.close();
  });

  test("takes the place while nobody is connected", () => {
    server.listen(path);
    server.moveTo(smaller(), () => {});
    const peer = peerOf();
    expect(queueNum(peer)).toBe(2n);
    peer.close();
  });

  test("to which the rings did not get does not serve", () => {
    server.listen(path);
    const peer = peerOf();
    works(peer);
    const fail = () => {
      throw new Error("no move");
    };
    expect(() => server.moveTo(smaller(), fail)).toThrow("no move");
    works(peer);
    peer.close();
  });
});

describe("server role", () => {
  test("serves one front-end after the other and removes its socket", () => {
    server.listen(path);
    for (let i = 0; i < 50; i++) {
      const peer = peerOf();
      works(peer);
      expect(server.connected).toBe(true);
      peer.close();
      expect(server.connected).toBe(false);
    }
    server.close();
    expect(existsSync(path)).toBe(false);
    expect(events.slice(0, 4)).toEqual(["listening", "connect", "disconnect", "connect"]);
    expect(counted).toEqual({ connections: 50, messages: 50 });
  });

  test("turns a second front-end away without a word and goes on with the first", () => {
    server.listen(path);
    const first = peerOf();
    works(first);
    const second = peerOf();
    expect(second.disconnected).toBe(true);
    works(first);
    expect(counted).toMatchObject({ connections: 1, refused_connections: 1 });
    expect(log.lines.filter((line) => line.startsWith("warn"))).toEqual([
      "warn turned away a second front-end: one is connected already",
    ]);
    first.close();
    second.close();
    const third = peerOf();
    works(third);
    third.close();
  });

  test("a quick reconnect is not mistaken for a second front-end", () => {
    server.listen(path);
    const first = peerOf();
    works(first);
    first.raw(frame(REQUEST.GET_FEATURES, 1, u32s()));
    closeFd(first.fd);
    const second = new Peer(loop, connectUnix(path));
    works(second);
    second.close();
    expect(counted["refused_connections"]).toBeUndefined();
  });

  test("after a broken front-end comes the next one", () => {
    server.listen(path);
    for (const bytes of [
      new Uint8Array(40).fill(255),
      frame(0, 1, u32s()),
      frame(1, 7, u32s()),
      new Uint8Array(3),
    ]) {
      const peer = peerOf();
      peer.raw(bytes);
      peer.pump();
      peer.close();
      const good = peerOf();
      works(good);
      good.close();
    }
  });

  test("the socket is private at first and then as asked for", () => {
    server.listen(path);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    server.close();
    server = newServer();
    server.listen(path, { mode: 0o660, uid: process.getuid!(), gid: process.getgid!() });
    expect(lstatSync(path).mode & 0o777).toBe(0o660);
    expect(process.umask()).not.toBe(0o177);
  });

  test("a socket that a dead process left is replaced", () => {
    closeFd(listenUnix(path));
    expect(existsSync(path)).toBe(true);
    server.listen(path);
    const peer = peerOf();
    works(peer);
    peer.close();
  });

  test("a socket that somebody else has put there is left at the end", () => {
    server.listen(path);
    unlinkSync(path);
    const other = listenUnix(path);
    server.close();
    expect(existsSync(path)).toBe(true);
    closeFd(other);
  });

  test("a path where somebody listens is refused", () => {
    const other = listenUnix(path);
    expect(() => server.listen(path)).toThrow("another process listens there");
    expect(existsSync(path)).toBe(true);
    closeFd(other);
  });

  test("a file of another kind is refused and left alone", () => {
    writeFileSync(path, "precious");
    expect(() => server.listen(path)).toThrow("there is a file that is no socket, which is left alone");
    expect(lstatSync(path).size).toBe(8);
    expect(() => server.listen(directory)).toThrow("it is a directory");
  });

  test("a directory that is missing or none is named", () => {
    expect(() => server.listen(`${directory}/none/vhost.sock`)).toThrow(
      `the directory ${directory}/none/ does not exist`,
    );
    writeFileSync(path, "");
    expect(() => server.listen(`${path}/vhost.sock`)).toThrow(`${path}/ is no directory`);
  });

  test("a path that is too long is refused", () => {
    const long = `${directory}/${"x".repeat(108)}`;
    expect(() => server.listen(long)).toThrow(
      `socket path of ${long.length} bytes: a Unix socket path has 1 to 107 bytes`,
    );
    expect(() => server.listen("")).toThrow("socket path of 0 bytes");
  });
});

describe("inherited fd", () => {
  test("a listening socket is served like one of ours, with what already waits", () => {
    const fd = listenUnix(path);
    const early = peerOf();
    server.listenFd(fd);
    works(early);
    early.close();
    const next = peerOf();
    works(next);
    next.close();
    server.close();
    // Whoever made the file removes it.
    expect(existsSync(path)).toBe(true);
  });

  test("a connected socket is one front-end, after which nobody can come", () => {
    const [ours, theirs] = unixSocketPair();
    server.listenFd(ours);
    const peer = new Peer(loop, theirs);
    works(peer);
    peer.close();
    expect(events).toEqual(["connect", "listening", "disconnect", "end"]);
  });

  test("anything else is refused", () => {
    const eventfd = createEventfd();
    expect(() => server.listenFd(eventfd)).toThrow("it is no Unix stream socket");
    closeFd(eventfd);
    expect(() => server.listenFd(987654)).toThrow("fd 987654: it is not open");
  });
});

describe("client role", () => {
  test("waits for a front-end and comes back to it, for ever, with one line for each wait", () => {
    server.connect(path);
    expect(log.lines).toEqual([expect.stringContaining("warn waiting for a front-end: connect")]);
    // Three more attempts in vain.
    for (let i = 0; i < 3; i++) loop.runOnce(20_000);
    expect(log.lines.length).toBe(1);
    const listening = listenUnix(path);
    for (let i = 0; i < 3; i++) {
      until(() => server.connected);
      const peer = new Peer(loop, acceptUnix(listening)!);
      works(peer);
      peer.close();
      expect(server.connected).toBe(false);
    }
    closeFd(listening);
    expect(counted["connections"]).toBe(3);
  });

  test("a path that is too long is refused at once", () => {
    expect(() => server.connect("x".repeat(108))).toThrow("socket path of 108 bytes");
  });
});

test("the state of the connected front-end can be asked for", () => {
  server.listen(path);
  expect(server.state).toBeUndefined();
  const peer = peerOf();
  peer.post(REQUEST.SET_OWNER);
  peer.post(REQUEST.SET_VRING_NUM, u32s(1, 128));
  peer.post(REQUEST.SET_VRING_ENABLE, u32s(0, 1));
  expect(server.state).toMatchObject({
    owned: true,
    features: undefined,
    memory: { regions: 0, bytes: 0n },
    rings: [
      { index: 0, enabled: true, started: false },
      { index: 1, size: 128, enabled: false, hasKick: false },
    ],
  });
  peer.close();
});
