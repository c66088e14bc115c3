import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { discardUnused, type MeetingOptions, meetingOf } from "../../../../src/daemon/meeting.ts";
import { type PassedSocket, passedSockets } from "../../../../src/daemon/systemd/passed-sockets.ts";
import { KEPT_SOCKET, ServiceManager } from "../../../../src/daemon/systemd/service-manager.ts";
import { closeFd, dupFd, memfd } from "../../../../src/hw/ffi/fd.ts";
import { boundPath, listenUnix, unixSocketPair } from "../../../../src/hw/ffi/unix-socket.ts";
import { ReceivingManager } from "../../../support/service-manager.ts";
import { CollectedLog } from "../../../support/virtio-driver/collected-log.ts";
import { NOTHING } from "../../commands/serve/options.ts";

const cleanup: (() => void)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

const options = (given: Partial<MeetingOptions> = {}): MeetingOptions => ({ ...NOTHING, ...given });

/** A socket that listens, as the manager passes it. */
function listening(name: string): Required<PassedSocket> & { path: string } {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-passed-"));
  const path = join(directory, "vhost.sock");
  const fd = listenUnix(path);
  cleanup.push(() => {
    closeFd(fd);
    rmSync(directory, { recursive: true });
  });
  return { fd, name, path };
}

test("what a socket is bound to", () => {
  const { fd, path } = listening("any");
  expect(boundPath(fd)).toBe(path);
  const [one, other] = unixSocketPair();
  const file = memfd("no socket", 1);
  cleanup.push(() => [one, other, file].forEach(closeFd));
  expect(boundPath(one)).toBeUndefined();
  expect(boundPath(file)).toBeUndefined();
});

test("a socket unit's only socket is used where none is named", () => {
  const socket = listening("vdpactl@x.socket");
  expect(meetingOf(options(), [socket])).toEqual({ role: "fd", fd: socket.fd });
  expect(() => meetingOf(options(), [socket, { ...socket, name: "other" }])).toThrow("which socket");
  expect(() => meetingOf(options(), [])).toThrow("where is the front-end?");
  expect(() => meetingOf(options(), [{ ...socket, name: KEPT_SOCKET }])).toThrow("where is the front-end?");
});

test("a kept socket is used where its path is asked for, and stays ours", () => {
  const kept = listening(KEPT_SOCKET);
  const asked = { socket: kept.path, "keep-socket": true };
  const stays = { role: "server", path: kept.path, inherited: kept.fd, keep: true, store: true };
  expect(meetingOf(options(asked), [kept])).toEqual(stays as never);
  const ends = { ...stays, keep: false, store: false };
  expect(meetingOf(options({ socket: kept.path }), [kept])).toEqual(ends as never);
});

test("a socket unit's socket is neither kept nor removed by us", () => {
  const socket = listening("vdpactl@x.socket");
  expect(meetingOf(options({ socket: socket.path, "keep-socket": true }), [socket])).toEqual({
    role: "server",
    path: socket.path,
    inherited: socket.fd,
    keep: true,
    store: false,
  } as never);
});

test("a socket whose file was removed is not used", () => {
  const kept = listening(KEPT_SOCKET);
  rmSync(kept.path);
  expect(meetingOf(options({ socket: kept.path }), [kept])).not.toHaveProperty("inherited");
});

test("--keep-socket needs a socket of ours", () => {
  const keep = { "keep-socket": true };
  expect(() => meetingOf(options({ ...keep, fd: 3 }))).toThrow("--keep-socket has no meaning with --fd");
  expect(() => meetingOf(options({ ...keep, socket: "/s", client: true }))).toThrow(
    "--keep-socket has no meaning with --client",
  );
});

test("what is not used is closed, and the manager drops what it kept", () => {
  const receiver = new ReceivingManager();
  cleanup.push(() => receiver.close());
  const log = new CollectedLog();
  const used = listening("used");
  const [stale, other] = [KEPT_SOCKET, "other"].map((name) => ({ ...used, fd: dupFd(used.fd), name }));
  const manager = new ServiceManager(receiver.address, log);
  discardUnused([used, stale!, other!], [{ role: "fd", fd: used.fd }], manager, log);
  expect(boundPath(used.fd)).toBe(used.path);
  for (const { fd } of [stale!, other!]) expect(() => boundPath(fd)).toThrow("EBADF");
  expect(receiver.notices.map(({ variables }) => variables)).toEqual([
    { FDSTOREREMOVE: "1", FDNAME: KEPT_SOCKET },
  ]);
  expect(log.lines).toEqual([`warn: the passed socket "other" (${used.path}) is not used`]);
});

test("a kept socket that is in use stays kept when another is dropped", () => {
  const receiver = new ReceivingManager();
  cleanup.push(() => receiver.close());
  const used = listening(KEPT_SOCKET);
  const stale = { ...listening(KEPT_SOCKET), fd: dupFd(used.fd) };
  const manager = new ServiceManager(receiver.address, new CollectedLog());
  const meeting = meetingOf(options({ socket: used.path, "keep-socket": true }), [used]);
  discardUnused([used, stale], [meeting], manager, new CollectedLog());
  expect(receiver.notices.map(({ variables, fds }) => [variables, fds.length])).toEqual([
    [{ FDSTOREREMOVE: "1", FDNAME: KEPT_SOCKET }, 0],
    [{ FDSTORE: "1", FDNAME: KEPT_SOCKET }, 1],
  ]);
});

test("sockets that are meant for another process, or none, are not taken", () => {
  expect(passedSockets({}, 7)).toEqual([]);
  expect(passedSockets({ LISTEN_PID: "8", LISTEN_FDS: "1" }, 7)).toEqual([]);
  for (const odd of ["", "0", "-1", "one", "99999"]) {
    expect(passedSockets({ LISTEN_PID: "7", LISTEN_FDS: odd }, 7)).toEqual([]);
  }
});
