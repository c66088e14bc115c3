import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { SimFaults, SimOptions } from "../../../src/hw/sim/sim-options.ts";
import * as F from "../../../src/hw/virtio/features.ts";
import { type DeviceMove, moveRings } from "../../../src/vdpa/device-move.ts";
import type { VirtioNetDevice } from "../../../src/vdpa/net-device.ts";
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

type Other = ReturnType<RelayStage["another"]>;

/** Moves the guest of a stage, whose device is the other one from then on. */
function move(stage: RelayStage, other: Other): DeviceMove {
  const copy = stage.memory.copyFor(other.fn.dma);
  while (!copy.step());
  let result: DeviceMove;
  try {
    result = moveRings(stage.device, other.device);
  } catch (error) {
    other.device.close();
    copy.cancel();
    throw error;
  }
  stage.memory.adopt(copy);
  stage.device.close();
  stage.fn.close();
  stage.device = other.device;
  stage.fn = other.fn;
  return result;
}

const NOTHING = { lost: 0, duplicates: 0 };
const NO_RESET = 1n << BigInt(F.VIRTIO_F_RING_RESET);
const modes = (device: VirtioNetDevice) => device.queues().map((q) => q.mode);

for (const packed of [false, true]) {
  const shown: StageOptions = { packed, layouts: ["single", "indirect"] };
  describe(packed ? "packed" : "split", () => {
    for (const datapath of ["auto", "relay"] as const) {
      for (const eventIdx of [false, true]) {
        test(`to and fro in the middle of traffic (${datapath}, ${eventIdx ? "event idx" : "flags"})`, () => {
          const stage = stageOf({ ...shown, datapath, eventIdx });
          stage.start();
          let dropped = 0;
          for (let round = 0; round < 6; round++) {
            expect(stage.pass(23 * round + 5)).toEqual(NOTHING);
            stage.send(16);
            if (round % 2) stage.turn();
            if (packed) stage.settle();
            const before = stage.fn;
            const result = move(stage, stage.another());
            expect(result.queues.map(({ index }) => index)).toEqual([0, 1]);
            expect(result.queues.map(({ mode }) => mode)).toEqual(modes(stage.device));
            stage.settle();
            // Frames on the wire at the reset are gone, as with any network; nothing else is.
            dropped += before.counters().frames_dropped;
            expect(stage.report()).toEqual({ lost: dropped, duplicates: 0 });
          }
          expect(stage.pass(500)).toEqual(NOTHING);
        });
      }
    }

    test("entries that no device has looked at go out on the new one", () => {
      // The wire holds two frames, which nobody receives: the rest waits in the ring.
      const stage = stageOf({ ...shown, datapath: "relay", size: 16 }, { portFrames: 2 });
      stage.start();
      stage.flood();
      expect(stage.outstandingTx).toBeGreaterThan(8);
      const before = stage.fn;
      move(stage, stage.another());
      stage.settle();
      expect(stage.outstandingTx).toBe(0);
      expect(before.counters().frames_dropped).toBe(2);
      expect(stage.report()).toEqual({ lost: 2, duplicates: 0 });
      expect(stage.pass(200)).toEqual(NOTHING);
    });

    test("with auto the rings are the device's again when they can be", () => {
      const stage = stageOf(shown);
      stage.start();
      expect(stage.pass(40)).toEqual(NOTHING);
      stage.settle();
      move(stage, stage.another());
      for (let frames = 0; modes(stage.device).includes("relay") && frames < 140_000; frames += 100) {
        expect(stage.pass(100)).toEqual(NOTHING);
      }
      expect(modes(stage.device)).toEqual(["direct", "direct"]);
      expect(stage.pass(200)).toEqual(NOTHING);
    });

    test("what is held stays held, what is logged stays logged", () => {
      const stage = stageOf(shown);
      stage.start();
      stage.device.holdInRelay(true);
      const pages = new PageLog();
      cleanup.push(() => pages.close());
      const log = stage.logTo(pages);
      expect(stage.pass(50)).toEqual(NOTHING);
      move(stage, stage.another());
      pages.clear();
      expect(stage.pass(packed ? 400 : 100)).toEqual(NOTHING);
      expect(pages.count).toBeGreaterThan(0);
      expect(pages.missing([stage.pair.rx], packed).length).toBe(0);
      stage.device.setLogging(undefined);
      log.close();
      expect(stage.pass(400)).toEqual(NOTHING);
      expect(modes(stage.device)).toEqual(["relay", "relay"]);
      expect(stage.device.held).toBe(true);
    });

    test("from a device that can not reset single queues, to another such", () => {
      const stage = stageOf(shown, { withhold: NO_RESET });
      stage.start();
      expect(stage.pass(50)).toEqual(NOTHING);
      stage.settle();
      move(stage, stage.another({ withhold: NO_RESET }));
      expect(stage.pass(300)).toEqual(NOTHING);
    });

    for (const [name, faults] of [
      ["refuses the features", { refuseFeatures: true }],
      ["lacks the second queue", { missingQueue: 1 }],
      ["never answers a control command", { controlNeverCompletes: true }],
      ["is gone", { gone: true }],
    ] as [string, SimFaults][]) {
      test(`a new device that ${name}: the guest goes on on the old one`, () => {
        const stage = stageOf({ ...shown, limitMs: 200, controlLimitMs: 2000 });
        stage.start();
        expect(stage.pass(50)).toEqual(NOTHING);
        stage.send(8);
        stage.settle();
        const other = stage.another();
        other.fn.inject(faults);
        const old = stage.fn;
        expect(() => move(stage, other)).toThrow(/could not be moved to sim: .*; it stays on sim/s);
        expect(stage.fn).toBe(old);
        expect(stage.device.held).toBe(false);
        stage.settle();
        expect(stage.report()).toEqual(NOTHING);
        expect(stage.pass(packed ? 600 : 200)).toEqual(NOTHING);
        if (packed) expect(modes(stage.device)).toEqual(["direct", "direct"]);
        other.fn.inject({});
      });
    }
  });
}

test("a ring whose position does not show is not moved, and the guest goes on where it is", () => {
  const stage = stageOf({ datapath: "direct" });
  stage.start();
  expect(stage.pass(50)).toEqual(NOTHING);
  expect(() => move(stage, stage.another())).toThrow(/--datapath direct/);
  expect(modes(stage.device)).toEqual(["direct", "direct"]);
  expect(stage.pass(50)).toEqual(NOTHING);
});

test("rings that a reset has interrupted can not be moved", () => {
  const stage = stageOf({ datapath: "relay" }, { withhold: NO_RESET });
  stage.start();
  stage.device.stopVring(0);
  expect(() => move(stage, stage.another())).toThrow(/stopped by a reset of the whole device/);
  expect(stage.device.running).toBe(true);
});

test("an old device that does not come back is said to be lost", () => {
  const stage = stageOf({ limitMs: 200 });
  stage.start();
  expect(stage.pass(20)).toEqual(NOTHING);
  stage.settle();
  stage.device.holdInRelay(true);
  const other = stage.another();
  other.fn.inject({ refuseFeatures: true });
  stage.fn.inject({ refuseFeatures: true });
  expect(() => move(stage, other)).toThrow(/nor does it run on sim any more/);
  expect(stage.device.running).toBe(false);
});

test("a device that does not run is replaced at once", () => {
  const stage = stageOf();
  const other = stage.another();
  expect(move(stage, other)).toEqual({ from: "sim", to: "sim", gap_us: 0, queues: [] });
  stage.start();
  expect(stage.pass(100)).toEqual(NOTHING);
});
