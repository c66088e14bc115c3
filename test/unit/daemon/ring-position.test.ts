import { ptr } from "bun:ffi";
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { QueueReport } from "../../../src/daemon/state/device-report.ts";
import {
  packedPositions,
  readPositions,
  readUsed,
  usedOfBase,
} from "../../../src/daemon/state/ring-position.ts";

const AVAIL = 1 << 7;
const USED = 1 << 15;

/** A packed ring after a driver has made entries available and a device has used some, of one descriptor each. */
function packedRing(size: number, available: number, used: number): Uint8Array {
  const ring = new Uint8Array(new ArrayBuffer(16 * size));
  const flags = new DataView(ring.buffer);
  const lapOf = (n: number) => Math.floor(n / size) % 2 === 0;
  for (let n = 0; n < available; n++) {
    const wrap = lapOf(n);
    const isUsed = n < used;
    flags.setUint16(16 * (n % size) + 14, (wrap ? AVAIL : 0) | (isUsed === wrap ? USED : 0), true);
  }
  return ring;
}

test("packed: positions of any ring of single descriptors", () => {
  const states = fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.nat(200), fc.nat(40))
    .map(([size, used, lag]) => ({ size, used, available: used + Math.min(lag, size) }));
  fc.assert(
    fc.property(states, ({ size, used, available }) => {
      const { avail, avail_wrap, ...found } = packedPositions(packedRing(size, available, used));
      const at = (n: number) => [n % size, Math.floor(n / size) % 2 === 0] as const;
      expect([found.used, found.used_wrap]).toEqual([...at(used)]);
      expect([avail, avail_wrap]).toEqual([...at(available)]);
      expect(found.lag).toBe(available - used);
    }),
    { numRuns: 2000 },
  );
});

describe("read from this process's memory", () => {
  const kept: Uint8Array[] = [];
  afterEach(() => {
    kept.length = 0;
  });
  const hvaOf = (bytes: Uint8Array) => {
    kept.push(bytes);
    return ptr(bytes);
  };
  const report = (over: Partial<QueueReport>): QueueReport => ({
    index: 0,
    type: "rx",
    size: 8,
    enabled: true,
    mode: "direct",
    doorbell: "ioeventfd",
    vector: 1,
    call: "direct",
    started: true,
    start: { id: 1, base: 0 },
    gap_us: null,
    layout: "split",
    ring: null,
    ...over,
  });
  const indexed = (idx: number) => new Uint8Array(new Uint16Array([0, idx]).buffer);

  test("split: the indices, whose distance goes round", () => {
    const ring = { desc_hva: 0, driver_hva: hvaOf(indexed(3)), device_hva: hvaOf(indexed(65_534)) };
    const queue = report({ ring });
    expect(readPositions(queue)).toEqual({
      avail: 3,
      avail_wrap: null,
      used: 65_534,
      used_wrap: null,
      lag: 5,
    });
    expect(readUsed(queue)).toEqual({ used: 65_534, modulus: 65_536 });
  });

  test("packed: positions count on over two laps", () => {
    const read = (used: number) => {
      const ring = { desc_hva: hvaOf(packedRing(8, used, used)), driver_hva: 0, device_hva: 0 };
      return readUsed(report({ layout: "packed", ring }));
    };
    expect([3, 8, 11, 16, 19].map((used) => read(used)?.used)).toEqual([3, 8, 11, 0, 3]);
    expect(read(0)?.modulus).toBe(16);
  });

  test("memory that is not there gives no position", () => {
    const ring = { desc_hva: 4096, driver_hva: 4096, device_hva: 4096 };
    for (const layout of ["split", "packed"] as const) {
      expect(readPositions(report({ layout, ring }))).toBeUndefined();
      expect(readUsed(report({ layout, ring }))).toBeUndefined();
      expect(readPositions(report({ layout }))).toBeUndefined();
    }
  });

  test("a vring base as a used position", () => {
    expect(usedOfBase(report({ start: { id: 1, base: 513 } }))).toBe(513);
    const packed = (base: number) => usedOfBase(report({ layout: "packed", start: { id: 1, base } }));
    expect(packed(0x8000_8000)).toBe(0);
    expect(packed(0x8003_8005)).toBe(3);
    expect(packed(0x0003_0005)).toBe(11);
  });
});
