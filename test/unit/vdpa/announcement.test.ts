import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import * as F from "../../../src/hw/virtio/features.ts";
import { PageLog } from "../../support/front-end/page-log.ts";
import { RelayStage, type StageOptions } from "./relay-stage.ts";

setDefaultTimeout(120_000);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function stageOf(options: StageOptions = {}, sim: SimOptions = {}): RelayStage {
  const stage = new RelayStage(options, sim);
  cleanup.push(() => stage.close());
  return stage;
}

const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0xab, 0xcd, 0xef);
/** RFC 903: to all, from the station; hardware 1, protocol 0x0800, lengths 6 and 4, operation 3; padded to 60 bytes. */
const FRAME = `ffffffffffff525400abcdef8035${"0001080006040003"}${"525400abcdef00000000".repeat(2)}`.padEnd(
  120,
  "0",
);
const NOTHING = { lost: 0, duplicates: 0 };
const NO_RESET = 1n << BigInt(F.VIRTIO_F_RING_RESET);
const modes = (stage: RelayStage) => stage.device.queues().map((q) => q.mode);
const came = (stage: RelayStage) => stage.foreign.map((frame) => frame.toString("hex"));

for (const packed of [false, true]) {
  const shown: StageOptions = { packed, layouts: ["single", "indirect"] };
  describe(packed ? "packed" : "split", () => {
    for (const datapath of ["auto", "relay"] as const) {
      for (const eventIdx of [false, true]) {
        test(`the frame goes out in the middle of traffic (${datapath}, ${eventIdx ? "event idx" : "flags"})`, () => {
          const stage = stageOf({ ...shown, datapath, eventIdx });
          stage.start();
          for (let round = 0; round < 5; round++) {
            expect(stage.pass(23 * round + 5)).toEqual(NOTHING);
            stage.send(16);
            if (round % 2) stage.turn();
            stage.device.announce(MAC);
            stage.settle();
            expect(stage.report()).toEqual(NOTHING);
          }
          expect(stage.pass(300)).toEqual(NOTHING);
          expect(came(stage)).toEqual(Array(5).fill(FRAME));
        });
      }
    }

    test("a ring whose frames are logged is logged on", () => {
      const stage = stageOf({ ...shown, datapath: "relay" });
      stage.start();
      const pages = new PageLog();
      cleanup.push(() => pages.close());
      const log = stage.logTo(pages);
      expect(stage.pass(50)).toEqual(NOTHING);
      stage.device.announce(MAC);
      expect(stage.pass(200)).toEqual(NOTHING);
      expect(pages.missing(stage.pair.queues, packed)).toEqual([]);
      stage.device.setLogging(undefined);
      log.close();
    });

    test("a device that does not take the frame in time: an error, and the guest's ring goes on", () => {
      // The wire holds two frames, which nobody receives, so that a third is not taken.
      const stage = stageOf({ ...shown, datapath: "relay", size: 16 }, { portFrames: 2 });
      stage.start();
      expect(stage.pass(40)).toEqual(NOTHING);
      stage.flood();
      expect(() => stage.device.announce(MAC)).toThrow(/sim did not transmit .* it was given 1 s/);
      expect(stage.device.running).toBe(true);
      stage.settle();
      expect(stage.report()).toEqual(NOTHING);
      expect(stage.pass(40)).toEqual(NOTHING);
      expect(stage.foreign).toEqual([]);
    });

    test("a device that completes what it was not given: an error, and the guest's ring goes on", () => {
      const stage = stageOf(shown);
      stage.start();
      expect(stage.pass(40)).toEqual(NOTHING);
      // Without receive buffers, the queue that completes something is the one under test.
      stage.flood(80);
      stage.fn.inject({ wrongUsedId: true });
      expect(() => stage.device.announce(MAC)).toThrow(/which was not given to it/);
      stage.fn.inject({ wrongUsedId: false });
      stage.settle();
      expect(stage.pass(100)).toEqual(NOTHING);
      expect(came(stage)).toEqual([FRAME]);
    });
  });
}

test("a relayed ring keeps going back to the device afterwards", () => {
  const stage = stageOf({ packed: true, layouts: ["single", "indirect"] });
  stage.start();
  stage.settle();
  stage.device.announce(MAC);
  for (let frames = 0; modes(stage).includes("relay") && frames < 2000; frames += 50) {
    expect(stage.pass(50)).toEqual(NOTHING);
  }
  expect(modes(stage)).toEqual(["direct", "direct"]);
});

test("it can not be asked of a device without RING_RESET, nor without a relay", () => {
  const [fixed, direct, able] = [
    stageOf({}, { withhold: NO_RESET }),
    stageOf({ datapath: "direct" }),
    stageOf(),
  ];
  expect([fixed, direct, able].map(({ device }) => device.canAnnounce)).toEqual([false, false, true]);
  for (const stage of [fixed, direct]) stage.start();
  expect(() => fixed.device.announce(MAC)).toThrow(/RING_RESET/);
  expect(() => direct.device.announce(MAC)).toThrow(/--datapath direct/);
  expect(fixed.pass(50)).toEqual(NOTHING);
});

test("a device that does not run sends nothing", () => {
  const stage = stageOf();
  expect(() => stage.device.announce(MAC)).toThrow(/52:54:00:ab:cd:ef can not be announced.*does not run/);
});

test("a device that is gone is stopped", () => {
  const stage = stageOf({ limitMs: 200 });
  stage.start();
  stage.fn.inject({ gone: true });
  expect(() => stage.device.announce(MAC)).toThrow();
  expect(stage.device.running).toBe(false);
  stage.fn.inject({ gone: false });
});
