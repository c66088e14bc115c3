import { afterEach, expect, test } from "bun:test";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { OrderWatch } from "../../../src/vdpa/order-watch.ts";
import { CollectedLog } from "../memory/collected-log.ts";
import { FakeDma } from "../memory/fake-dma.ts";

const SIZE = 32;
const GPA = 0x1000n;
const AVAIL = 0x80;
const USED = 0x8000;

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

/** A ring of receive buffers in its first lap, of which the driver has made `available` available. */
function ringOf(available: number) {
  const memory = new GuestMemory(new FakeDma(), { log: new CollectedLog() });
  const fd = memfd("guest", 8192);
  memory.replaceAll([{ description: { gpa: 0n, size: 8192n, uva: 0n, mmapOffset: 0n }, fd }]);
  closeFd(fd);
  cleanup.push(() => memory.clear());
  const put = (at: number, id: number, flags: number) => {
    memory.writeU16(GPA + BigInt(16 * at + 12), id);
    memory.writeU16(GPA + BigInt(16 * at + 14), flags);
  };
  for (let i = 0; i < available; i++) put(i, i, AVAIL | 2);
  const vring = {
    index: 0,
    size: SIZE,
    descGpa: GPA,
    driverGpa: 0n,
    deviceGpa: 64n,
    base: 0x8000_8000,
    kickFd: -1,
    callFd: -1,
    enabled: true,
  };
  const traits = { packed: true, eventIdx: false, indirect: false, inOrder: false };
  return {
    use: (at: number, id: number) => put(at, id, AVAIL | USED | 2),
    watch: new OrderWatch(memory, vring, traits),
  };
}

test("enough buffers used in order, over several looks, show it", () => {
  const { use, watch } = ringOf(20);
  expect(watch.look()).toBe(false);
  for (let i = 0; i < 5; i++) use(i, i);
  expect(watch.look()).toBe(false);
  for (let i = 5; i < 8; i++) use(i, i);
  expect(watch.look()).toBe(true);
  expect(watch.look()).toBe(true);
});

test("a ring on which nothing happens shows nothing", () => {
  const { watch } = ringOf(20);
  for (let i = 0; i < 20; i++) expect(watch.look()).toBe(false);
});

test("one buffer out of order is enough to never trust the ring", () => {
  const { use, watch } = ringOf(20);
  expect(watch.look()).toBe(false);
  use(0, 1);
  use(1, 0);
  expect(watch.look()).toBe(false);
  for (let i = 2; i < 15; i++) use(i, i);
  expect(watch.look()).toBe(false);
});
