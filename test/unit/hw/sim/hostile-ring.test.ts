import { afterEach, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { createEventfd, drainEventfd } from "../../../../src/hw/ffi/eventfd.ts";
import { closeFd } from "../../../../src/hw/ffi/fd.ts";
import { F } from "../../../../src/hw/sim/virtio.ts";
import { RingMemory } from "../../../support/virtio-driver/driver-ring.ts";
import { NetPair, testFrame } from "../../../support/virtio-driver/net-pair.ts";
import { SimHarness } from "../../../support/virtio-driver/sim-harness.ts";

const SIZE = 8;
const IOVA = 0x10_0000;
/** Transmit ring of the pair: where its parts lie in the memory. */
const DESC = 0x1_8000;
const AVAIL = DESC + SIZE * 16;

let config: number;
beforeEach(() => {
  config = createEventfd();
});
afterEach(() => closeFd(config));

function rig(packed: boolean, features = F.INDIRECT_DESC) {
  const harness = new SimHarness();
  const memory = new RingMemory(harness.memory(BigInt(IOVA), 2 << 20));
  harness.device.interrupts.enable(1);
  harness.device.interrupts.setVector(0, config);
  const start = () => {
    const pair = new NetPair(memory, 0, { packed, size: SIZE });
    expect(
      harness.negotiate(F.VERSION_1 | F.ACCESS_PLATFORM | features | (packed ? F.RING_PACKED : 0n)),
    ).toBe(true);
    harness.set("config_msix_vector", 0);
    expect(harness.enable(0, pair.rx)).toBe(true);
    expect(harness.enable(1, pair.tx)).toBe(true);
    expect(Number(pair.tx.desc)).toBe(IOVA + DESC);
    harness.driverOk();
    return pair;
  };
  return { harness, memory, start };
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

interface Desc {
  iova?: number;
  length?: number;
  flags?: number;
  next?: number;
}

const OK: Required<Desc> = { iova: IOVA + 0x10_0000, length: 100, flags: 0, next: 0 };

function writeSplit(memory: RingMemory, table: number, descs: Desc[]): void {
  for (const [i, desc] of descs.entries()) {
    const { iova, length, flags, next } = { ...OK, ...desc };
    memory.descriptor(table + i * 16, iova, length, next * 65536 + flags);
  }
}

const TABLE = 0x10_8000;
const SPLIT: Record<
  string,
  { descs: Desc[]; table?: Desc[]; head?: number; idx?: number; features?: bigint }
> = {
  "head beyond the ring": { descs: [{}], head: SIZE },
  "index jump beyond the ring": { descs: [{}], idx: SIZE + 1 },
  "index going backward": { descs: [{}], idx: 0xffff },
  "loop of one": { descs: [{ flags: NEXT, next: 0 }] },
  "loop of two": {
    descs: [
      { flags: NEXT, next: 1 },
      { flags: NEXT, next: 0 },
    ],
  },
  "next beyond the table": { descs: [{ flags: NEXT, next: SIZE }] },
  "length 0": { descs: [{ length: 0 }] },
  "unmapped address": { descs: [{ iova: 0x4000_0000 }] },
  "address past the end of a map": { descs: [{ iova: IOVA + (2 << 20) - 50 }] },
  "address that wraps": { descs: [{ iova: 2 ** 64 - 4096 }] },
  "more than 4 GiB in a chain": {
    descs: [{ length: 0xffff_ffff, flags: NEXT, next: 1 }, { length: 0xffff_ffff }],
  },
  "header cut off": { descs: [{ length: 11 }] },
  "writable descriptor to transmit": { descs: [{ flags: WRITE }] },
  "readable after writable": { descs: [{ flags: NEXT | WRITE, next: 1 }, {}] },
  "indirect without the feature": { descs: [{ flags: INDIRECT, length: 16 }], features: 0n },
  "indirect table of no length": { descs: [{ flags: INDIRECT, length: 0 }] },
  "indirect table not a multiple of 16": { descs: [{ flags: INDIRECT, length: 24 }] },
  "indirect with next": { descs: [{ flags: INDIRECT | NEXT, length: 16 }] },
  "nested indirect": {
    descs: [{ flags: INDIRECT, length: 16, iova: IOVA + TABLE }],
    table: [{ flags: INDIRECT, length: 16 }],
  },
  "next beyond the indirect table": {
    descs: [{ flags: INDIRECT, length: 16, iova: IOVA + TABLE }],
    table: [{ flags: NEXT, next: 1 }],
  },
  "loop in the indirect table": {
    descs: [{ flags: INDIRECT, length: 32, iova: IOVA + TABLE }],
    table: [
      { flags: NEXT, next: 1 },
      { flags: NEXT, next: 0 },
    ],
  },
  "indirect table unmapped": { descs: [{ flags: INDIRECT, length: 16, iova: 0x4000_0000 }] },
};

/** The device has stopped, said so once in every way, and works again after a reset. */
function expectFault(harness: SimHarness, start: () => NetPair): void {
  expect(harness.get("device_status") & 64).toBe(64);
  expect(drainEventfd(config)).toBe(1n);
  expect(harness.device.counters.read().device_faults).toBe(1);
  expect(harness.log.lines).toHaveLength(1);
  harness.kick(1);
  harness.settle();
  expect(harness.log.lines).toHaveLength(1);

  const pair = start();
  pair.offer();
  pair.rx.publish();
  pair.send(testFrame(0, 9));
  pair.tx.publish();
  harness.kick(1);
  harness.settle();
  expect(pair.receive().map(({ frame }) => frame)).toEqual([testFrame(0, 9)]);
  harness.close();
}

for (const [name, { descs, table = [], head = 0, idx = 1, features }] of Object.entries(SPLIT)) {
  test(`split: ${name} asks for a reset`, () => {
    const { harness, memory, start } = rig(false, features);
    start();
    writeSplit(memory, DESC, descs);
    writeSplit(memory, TABLE, table);
    memory.u16[(AVAIL + 4) >> 1] = head;
    memory.u16[(AVAIL + 2) >> 1] = idx;
    harness.kick(1);
    harness.settle();
    expectFault(harness, start);
  });
}

test("split: the same head made available twice asks for a reset", () => {
  const { harness, memory, start } = rig(false);
  const pair = start();
  // A used element with a wrong id leaves the head with the device.
  harness.device.inject({ wrongUsedId: true });
  pair.send(testFrame(0, 1));
  pair.tx.publish();
  harness.kick(1);
  harness.settle();
  harness.device.inject({ wrongUsedId: false });
  memory.u16[(AVAIL + 6) >> 1] = memory.u16[(AVAIL + 4) >> 1]!;
  memory.u16[(AVAIL + 2) >> 1] = 2;
  harness.kick(1);
  harness.settle();
  expectFault(harness, start);
});

const PACKED: Record<string, { descs: Desc[]; table?: Desc[]; features?: bigint }> = {
  "chain longer than the ring": { descs: Array.from({ length: SIZE }, () => ({ flags: NEXT })) },
  "length 0": { descs: [{ length: 0 }] },
  "unmapped address": { descs: [{ iova: 0x4000_0000 }] },
  "header cut off": { descs: [{ length: 3 }] },
  "writable descriptor to transmit": { descs: [{ flags: WRITE }] },
  "indirect without the feature": { descs: [{ flags: INDIRECT, length: 16 }], features: 0n },
  "indirect with next": { descs: [{ flags: INDIRECT | NEXT, length: 16 }] },
  "indirect behind a chained descriptor": { descs: [{ flags: NEXT }, { flags: INDIRECT, length: 16 }] },
  "indirect table longer than the ring": {
    descs: [{ flags: INDIRECT, length: 16 * (SIZE + 1), iova: IOVA + TABLE }],
    table: Array.from({ length: SIZE + 1 }, () => ({})),
  },
  "nested indirect": {
    descs: [{ flags: INDIRECT, length: 16, iova: IOVA + TABLE }],
    table: [{ flags: INDIRECT, length: 16 }],
  },
};

function writePacked(memory: RingMemory, table: number, descs: Desc[], extra: number): void {
  for (const [i, desc] of descs.entries()) {
    const { iova, length, flags } = { ...OK, ...desc };
    memory.descriptor(table + i * 16, iova, length, (flags | extra) * 65536);
  }
}

for (const [name, { descs, table = [], features }] of Object.entries(PACKED)) {
  test(`packed: ${name} asks for a reset`, () => {
    const { harness, memory, start } = rig(true, features);
    start();
    writePacked(memory, DESC, descs, 1 << 7);
    writePacked(memory, TABLE, table, 0);
    harness.kick(1);
    harness.settle();
    expectFault(harness, start);
  });
}

test("memory unmapped under a running ring asks for a reset", () => {
  const { harness, memory, start } = rig(false);
  const pair = start();
  pair.send(testFrame(0, 1));
  pair.tx.publish();
  harness.device.iova.unmap(BigInt(IOVA), 2 << 20);
  harness.kick(1);
  harness.settle();
  expect(harness.log.lines[0]).toContain("nothing is mapped");
  harness.device.iova.map(BigInt(IOVA), { hva: memory.buffer.memory.hva, size: 2 << 20, stable: true });
  expectFault(harness, start);
});

test("bus mastering off asks for a reset instead of doing DMA", () => {
  const { harness, start } = rig(false);
  start();
  harness.device.regWrite(7, 4, 2, 2);
  harness.kick(1);
  harness.settle();
  expect(harness.log.lines[0]).toContain("bus mastering");
  harness.device.regWrite(7, 4, 2, 6);
  expectFault(harness, start);
});

test("random ring content never throws and never stops the device from working after a reset", () => {
  const words = fc.array(fc.tuple(fc.nat(1024), fc.integer({ min: 0, max: 0xffff })), { maxLength: 60 });
  fc.assert(
    fc.property(fc.boolean(), words, (packed, writes) => {
      const { harness, memory, start } = rig(packed);
      const pair = start();
      pair.offer();
      pair.rx.publish();
      for (const [word, value] of writes) {
        memory.u16[(DESC >> 1) + word] = value;
        harness.kick(1);
        harness.kick(0);
        for (let i = 0; i < 100 && harness.device.poll(); i++);
      }
      const again = start();
      again.offer();
      again.rx.publish();
      again.send(testFrame(0, 1));
      again.tx.publish();
      harness.kick(1);
      harness.settle();
      expect(again.receive().map(({ frame }) => frame)).toEqual([testFrame(0, 1)]);
      harness.close();
    }),
    { numRuns: 200 },
  );
});
