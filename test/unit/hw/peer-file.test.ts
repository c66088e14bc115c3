import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { libc } from "../../../src/hw/ffi/libc.ts";
import { readPeerFile, writePeerFile } from "../../../src/hw/ffi/peer-file.ts";

const F_SETFL = 4;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const STATE = Uint8Array.from({ length: 5000 }, (_, i) => i);

const openFds = () => readdirSync("/proc/self/fd").length;
let fdsAtStart: number;
beforeEach(() => {
  fdsAtStart = openFds();
});
afterEach(() => expect(openFds()).toBe(fdsAtStart));

/** An end to read and one to write, both blocking, as a peer can make them at any time. */
function channel(kind: string): [number, number] {
  const ends = new Int32Array(new ArrayBuffer(8));
  if (kind === "pipe") libc.pipe2(ends, 0);
  else libc.socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
  for (const fd of ends) libc.fcntl(fd, F_SETFL, 0);
  return [ends[0]!, ends[1]!];
}

function read(fd: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const chunk = new Uint8Array(4096);
    const n = readPeerFile(fd, chunk, "state");
    if (!n) return bytes;
    bytes.push(...chunk.subarray(0, n));
  }
}

test.each(["pipe", "socket"])("a blocking %s never holds anybody up", (kind) => {
  const [reader, writer] = channel(kind);
  const room = new Uint8Array(16);
  expect(readPeerFile(reader, room, "state")).toBeUndefined();
  writePeerFile(writer, STATE, "state");
  expect(read(reader)).toEqual([...STATE]);
  const fill = () => {
    for (;;) writePeerFile(writer, STATE, "state");
  };
  expect(fill).toThrow("EAGAIN");
  closeFd(writer);
  read(reader);
  expect(readPeerFile(reader, room, "state")).toBe(0);
  closeFd(reader);
});

test("a file is written and read at its position", () => {
  const fd = memfd("state", 0);
  writePeerFile(fd, STATE, "state");
  expect(readPeerFile(fd, new Uint8Array(16), "state")).toBe(0);
  closeFd(fd);
});

test("a reader that has gone is an error", () => {
  const [reader, writer] = channel("socket");
  closeFd(reader);
  expect(() => writePeerFile(writer, STATE, "state")).toThrow("EPIPE");
  closeFd(writer);
});
