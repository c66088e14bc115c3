import { expect, test } from "bun:test";
import { createRelay } from "../../../src/relay/create-relay.ts";
import { relayBytes } from "../../../src/relay/device-memory.ts";
import { availFlags, DESC_WRITE, usedFlags } from "../../../src/relay/ring-format.ts";
import { FIRST_GPA, PAGE, Stage } from "./stage.ts";

const SIZE = 256;
/** Batches that divide no page and no ring. */
const BATCH = 23;
const BUFFER = FIRST_GPA + 30 * PAGE;

/** The pages of these ranges of bytes, given as first byte and length. */
const pagesOf = (...ranges: readonly (readonly [number, number])[]) => {
  const pages = new Set<number>();
  for (const [first, length] of ranges) {
    for (let at = first; at < first + length; at++) pages.add(Math.floor(at / PAGE));
  }
  return [...pages].sort((a, b) => a - b);
};

/** Bytes of `count` entries from `slot` on, which may begin anew at the ring's end. */
function entries(at: number, bytes: number, slot: number, count: number): [number, number][] {
  const up = Math.min(count, SIZE - slot);
  const first: [number, number] = [at + bytes * slot, bytes * up];
  return up < count ? [first, [at, bytes * (count - up)]] : [first];
}

const common = { size: SIZE, eventIdx: false, indirect: false, inOrder: false };

/** Completes batches through some laps of the ring, and compares the log with what each has written. */
function compare(
  stage: Stage,
  laps: number,
  batch: (from: number) => void,
  written: (from: number) => number[],
) {
  for (let from = 0; from < laps * SIZE; from += BATCH) {
    stage.log.words.fill(0);
    batch(from);
    expect(stage.loggedPages()).toEqual(written(from));
  }
}

for (const logOffset of [0, 2, 2044, 4092, 4094]) {
  test(`a split ring is logged where log_guest_addr says, ${logOffset} bytes into a page`, () => {
    const stage = new Stage(48);
    const deviceGpa = FIRST_GPA + 8 * PAGE - 12;
    // Far from where it really is.
    const logGpa = FIRST_GPA + 20 * PAGE + logOffset;
    const ring = { ...common, descGpa: BigInt(FIRST_GPA), driverGpa: BigInt(FIRST_GPA + 4 * PAGE) };
    const buffer = stage.buffer(relayBytes(false, SIZE));
    const options = {
      ring: { ...ring, deviceGpa: BigInt(deviceGpa) },
      memory: stage.memory,
      buffer,
      offset: 0,
    };
    const relay = createRelay(false, options);
    relay.start({ availPosition: 0, availWrap: 0, usedPosition: 0, usedWrap: 0 });
    relay.setLogging({ log: stage.log, data: false, usedRingGpa: BigInt(logGpa) });
    const used = new DataView(
      buffer.memory.window(0).u8.buffer,
      Number(relay.deviceQueue.device - buffer.iova),
    );
    for (let i = 0; i < SIZE; i++) {
      stage.put(FIRST_GPA + 16 * i, 4, BUFFER);
      stage.put(FIRST_GPA + 16 * i + 8, 4, 64);
      stage.put(FIRST_GPA + 16 * i + 12, 2, DESC_WRITE);
      stage.put(FIRST_GPA + 4 * PAGE + 4 + 2 * i, 2, i);
      used.setUint32(4 + 8 * i, i, true);
    }
    const batch = (from: number) => {
      stage.put(FIRST_GPA + 4 * PAGE + 2, 2, from + BATCH);
      expect(relay.forward()).toBe(BATCH);
      used.setUint16(2, from + BATCH, true);
      expect(relay.complete()).toBe(BATCH);
    };
    compare(stage, 3, batch, (from) =>
      pagesOf([logGpa + 2, 2], ...entries(logGpa + 4, 8, from % SIZE, BATCH)),
    );
    stage.close();
  });
}

for (const offset of [0, 16, 4080, 1600]) {
  test(`a packed ring is logged where it is, ${offset} bytes into a page`, () => {
    const stage = new Stage(48);
    const descGpa = FIRST_GPA + 2 * PAGE + offset;
    const areas = { driverGpa: BigInt(FIRST_GPA + 8 * PAGE), deviceGpa: BigInt(FIRST_GPA + 9 * PAGE) };
    const ring = { ...common, ...areas, descGpa: BigInt(descGpa) };
    const buffer = stage.buffer(relayBytes(true, SIZE));
    const relay = createRelay(true, { ring, memory: stage.memory, buffer, offset: 0 });
    relay.start({ availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 });
    relay.setLogging({ log: stage.log, data: false, usedRingGpa: 0n });
    const device = new DataView(
      buffer.memory.window(0).u8.buffer,
      Number(relay.deviceQueue.desc - buffer.iova),
    );
    const batch = (from: number) => {
      const each = (step: (slot: number, wrap: number) => void) => {
        for (let i = from; i < from + BATCH; i++) step(i % SIZE, 1 ^ (Math.floor(i / SIZE) & 1));
      };
      each((slot, wrap) => {
        stage.put(descGpa + 16 * slot, 4, BUFFER);
        stage.put(descGpa + 16 * slot + 8, 4, 64);
        stage.put(descGpa + 16 * slot + 12, 2, slot);
        stage.put(descGpa + 16 * slot + 14, 2, DESC_WRITE | availFlags(wrap));
      });
      expect(relay.forward()).toBe(BATCH);
      each((slot, wrap) => device.setUint16(16 * slot + 14, DESC_WRITE | usedFlags(wrap), true));
      expect(relay.complete()).toBe(BATCH);
    };
    compare(stage, 3, batch, (from) => pagesOf(...entries(descGpa, 16, from % SIZE, BATCH)));
    stage.close();
  });
}
