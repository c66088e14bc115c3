import { afterEach, expect, test } from "bun:test";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { GuestView } from "../../../src/relay/guest-view.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";
import { FakeDma } from "../memory/fake-dma.ts";

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

test("descriptors are read at both ends of every window of a guest of several GiB", () => {
  const size = 5 * 2 ** 30;
  const fd = memfd("guest-big", size);
  const memory = new GuestMemory(new FakeDma([{ first: 0n, last: 2n ** 48n - 1n }]), {
    log: new CollectedLog(),
  });
  cleanup.push(() => memory.clear());
  memory.replaceAll([{ description: { gpa: 0n, size: BigInt(size), uva: 0n, mmapOffset: 0n }, fd }]);
  closeFd(fd);
  const view = new GuestView(memory);
  // The last but one starts in one window and ends in the next.
  for (const gpa of [0, 2 ** 31 - 16, 2 ** 31, 2 ** 32 - 16, 2 ** 32, 2 ** 31 - 8, size - 16]) {
    memory.write(BigInt(gpa), new Uint8Array(new Uint32Array([gpa / 8, 1, 2, 3]).buffer));
    expect(view.readDescriptor(gpa)).toBe(true);
    expect([...view.words]).toEqual([gpa / 8, 1, 2, 3]);
  }
  expect(view.readDescriptor(size - 8)).toBe(false);
});
