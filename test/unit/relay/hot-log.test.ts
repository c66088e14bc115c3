import { expect, setDefaultTimeout, test } from "bun:test";
import { DmaBuffer } from "../../../src/hw/dma-buffer.ts";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import type { DmaSpace } from "../../../src/hw/pci-function.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { createRelay } from "../../../src/relay/create-relay.ts";
import { relayBytes } from "../../../src/relay/device-memory.ts";
import type { RingRelay } from "../../../src/relay/relay.ts";
import { warmUpRelays } from "../../../src/relay/warm-up.ts";
import { CollectedLog } from "../../support/virtio-driver/collected-log.ts";

/** Far beyond what it takes: only a loop without an end should meet it. */
setDefaultTimeout(300_000);

const PAGE = 4096;
const MIB = 1 << 20;
/** Bytes of a log that reaches past the last region. */
const LOG = 0x400;
const REGIONS = [0n, 1n << 20n, 1n << 24n] as const;
/** The loops must have been compiled by every tier of the JIT, which takes some hundred sessions. */
const SESSIONS = 3500;
const WRITE = 2;

const nowhere: DmaSpace = {
  pageSize: PAGE,
  usable: [{ first: 0n, last: 2n ** 48n - 1n }],
  map: () => {},
  unmap: () => {},
};

/** Numbers that look random and are the same every time. */
function sequence(): (below: number) => number {
  let x = 1;
  return (below) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

/** Both sides of a ring: a batch of writable buffers goes through it. */
interface Sides {
  offer(at: number, gpa: bigint, length: number): void;
  publish(): void;
  complete(count: number): void;
}

function splitSides(u8: (gpa: bigint) => Uint8Array, ring: Ring, relay: RingRelay, ours: DmaBuffer): Sides {
  const { size } = ring;
  const desc = new DataView(u8(ring.descGpa).buffer, u8(ring.descGpa).byteOffset, 16 * size);
  const avail = u8(ring.driverGpa);
  const availView = new DataView(avail.buffer, avail.byteOffset, 6 + 2 * size);
  const used = at(ours, relay.deviceQueue.device, 6 + 8 * size);
  let index = 0;
  let done = 0;
  return {
    offer(i, gpa, length) {
      desc.setBigUint64(16 * i, gpa, true);
      desc.setUint32(16 * i + 8, length, true);
      desc.setUint32(16 * i + 12, WRITE, true);
      availView.setUint16(4 + 2 * (index++ % size), i, true);
    },
    publish: () => availView.setUint16(2, index & 0xffff, true),
    complete(count) {
      for (let i = 0; i < count; i++) used.setUint32(4 + 8 * (done++ % size), i, true);
      used.setUint16(2, done & 0xffff, true);
    },
  };
}

function packedSides(u8: (gpa: bigint) => Uint8Array, ring: Ring, relay: RingRelay, ours: DmaBuffer): Sides {
  const { size } = ring;
  const guest = u8(ring.descGpa);
  const desc = new DataView(guest.buffer, guest.byteOffset, 16 * size);
  const device = at(ours, relay.deviceQueue.desc, 16 * size);
  let next = 0;
  let done = 0;
  const lap = (n: number) => Math.floor(n / size) % 2;
  return {
    offer(i, gpa, length) {
      const slot = next % size;
      desc.setBigUint64(16 * slot, gpa, true);
      desc.setUint32(16 * slot + 8, length, true);
      desc.setUint16(16 * slot + 12, i, true);
      desc.setUint16(16 * slot + 14, WRITE | (lap(next++) ? 0x8000 : 0x80), true);
    },
    publish: () => {},
    complete(count) {
      for (let i = 0; i < count; i++) {
        device.setUint32(16 * (done % size) + 8, 5, true);
        device.setUint16(16 * (done % size) + 14, WRITE | (lap(done++) ? 0 : 0x8080), true);
      }
    },
  };
}

type Ring = ReturnType<typeof ringAt>;
const ringAt = (home: bigint, size: number, eventIdx: boolean) => ({
  size,
  descGpa: home + 0x3000n,
  driverGpa: home + 0x8000n,
  deviceGpa: home + 0x9000n,
  eventIdx,
  indirect: true,
  inOrder: false,
});

function at(ours: DmaBuffer, iova: bigint, length: number): DataView {
  return new DataView(ours.memory.window(0).u8.buffer, Number(iova - ours.iova), length);
}

for (const packed of [false, true]) {
  test(`no mark is lost once the code is hot (${packed ? "packed" : "split"})`, () => {
    const log = new CollectedLog();
    warmUpRelays(log);
    const below = sequence();
    let marks = 0;
    let lost = 0;
    let spurious = 0;
    for (let session = 0; session < SESSIONS; session++) {
      const memory = new GuestMemory(nowhere, { log });
      const fds = REGIONS.map((gpa) => {
        const fd = memfd("guest", MIB);
        memory.add({ description: { gpa, size: BigInt(MIB), uva: gpa, mmapOffset: 0n }, fd });
        return fd;
      });
      const logFd = memfd("log", LOG);
      const dirty = DirtyLog.map(logFd, BigInt(LOG), 0n);
      const size = packed ? [7, 16, 33, 64][session % 4]! : [8, 16, 32, 64][session % 4]!;
      const ours = DmaBuffer.create(
        nowhere,
        1n << 40n,
        PAGE * Math.ceil(relayBytes(packed, size) / PAGE),
        "relay",
      );
      const ring = ringAt(REGIONS[session % 3]!, size, session % 2 === 0);
      const relay = createRelay(packed, { ring, memory, buffer: ours, offset: 0 });
      const wrap = packed ? 1 : 0;
      relay.start({ availPosition: 0, availWrap: wrap, usedPosition: 0, usedWrap: wrap });
      relay.setLogging({ log: dirty, data: true, usedRingGpa: undefined });
      const bytes = (gpa: bigint) => {
        const { memory: map, offset } = memory.locate(gpa, 1);
        return map.window(0).u8.subarray(offset);
      };
      const sides = (packed ? packedSides : splitSides)(bytes, ring, relay, ours);
      for (let round = below(20); round >= 0; round--) {
        const count = 1 + below(size);
        const pages = new Set<number>();
        for (let i = 0; i < count; i++) {
          const gpa = REGIONS[(session + i) % 3]! + BigInt(0x10000 + below(0xc0000));
          const length = 1 + below(2048);
          sides.offer(i, gpa, length);
          for (let p = Number(gpa >> 12n); p <= Number((gpa + BigInt(length - 1)) >> 12n); p++) pages.add(p);
        }
        sides.publish();
        expect(relay.forward()).toBe(count);
        sides.complete(count);
        expect(relay.complete()).toBe(count);
        // A copy is read by memcpy, so that this loop can not be fooled by the compiler itself.
        const { u8 } = dirty.memory.window(0);
        const seen = u8.slice();
        for (const page of pages) if (((seen[page >> 3]! >> (page & 7)) & 1) === 0) lost++;
        for (const page of pages) seen[page >> 3]! &= ~(1 << (page & 7));
        // What a packed relay writes itself it marks too.
        const own = Number(ring.descGpa >> 12n);
        seen[own >> 3]! &= ~(1 << (own & 7));
        if (seen.some((byte) => byte !== 0)) spurious++;
        marks += pages.size;
        u8.fill(0);
      }
      ours.close();
      dirty.close();
      memory.clear();
      for (const fd of [...fds, logFd]) closeFd(fd);
    }
    expect({ lost, spurious }).toEqual({ lost: 0, spurious: 0 });
    expect(marks).toBeGreaterThan(SESSIONS);
  });
}
