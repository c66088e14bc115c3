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

const modes = (stage: RelayStage) => stage.device.queues().map((q) => q.mode);

/** Moves both rings to the relay by a log that is soon switched off: a migration that is cancelled. */
function migrateAndCancel(stage: RelayStage): void {
  const pages = new PageLog();
  const log = stage.logTo(pages);
  expect(modes(stage)).toEqual(["relay", "relay"]);
  expect(stage.pass(20)).toEqual({ lost: 0, duplicates: 0 });
  stage.device.setLogging(undefined);
  log.close();
  pages.close();
}

for (const relayThreads of [0, 1]) {
  function stageOf(options: StageOptions = {}, sim: SimOptions = {}): RelayStage {
    const stage = new RelayStage({ ...options, relayThreads }, sim);
    cleanup.push(() => stage.close());
    return stage;
  }

  describe(relayThreads ? "in a relay thread" : "in the device's thread", () => {
    for (const packed of [false, true]) {
      for (const eventIdx of [false, true]) {
        const layouts = packed
          ? (["single", "indirect"] as const)
          : (["single", "chain", "indirect"] as const);
        describe(`${packed ? "packed" : "split"}, ${eventIdx ? "event idx" : "flags"}`, () => {
          test("after a cancelled migration rings go back to the device at their boundary, again and again", () => {
            const stage = stageOf({ packed, eventIdx, layouts });
            stage.start();
            let told = 0;
            stage.device.watchModes(() => told++);
            // A lap of a split ring takes 65536 frames, and a relay thread costs each a change of threads.
            const rounds = packed ? 10 : relayThreads ? 1 : 2;
            for (let round = 0; round < rounds; round++) {
              expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
              stage.settle();
              migrateAndCancel(stage);
              let frames = 0;
              while (modes(stage).includes("relay") && frames < 140_000) {
                expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
                frames += 100;
              }
              expect(modes(stage)).toEqual(["direct", "direct"]);
              expect(told).toBe(2 * (round + 1));
              // An attempt that meets no traffic for a moment is given up and made again a lap later.
              expect(frames).toBeLessThan(packed ? 5_000 : 140_000);
            }
            expect(stage.pass(200)).toEqual({ lost: 0, duplicates: 0 });
            expect(stage.ringFaults).toBe(0);
          });
        });
      }
    }

    test("a ring whose device does not use up what it holds goes on being fed", () => {
      const stage = stageOf({ packed: true, layouts: ["single"] });
      stage.start();
      expect(stage.pass(40)).toEqual({ lost: 0, duplicates: 0 });
      stage.settle();
      migrateAndCancel(stage);
      // The receive ring reaches its boundary and then waits with half of its buffers in the device.
      expect(stage.pass(30)).toEqual({ lost: 0, duplicates: 0 });
      for (let i = 0; i < 5; i++) {
        stage.settle();
        expect(stage.pass(64)).toEqual({ lost: 0, duplicates: 0 });
      }
    });

    test("a ring that still holds half of its buffers at its boundary waits for slow traffic", () => {
      const stage = stageOf({ packed: true, layouts: ["single"] });
      stage.start();
      expect(stage.pass(10)).toEqual({ lost: 0, duplicates: 0 });
      stage.settle();
      migrateAndCancel(stage);
      // 80 of the two laps of 64 are used: the receive ring is at its boundary and the device holds 48 buffers.
      expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
      for (let i = 0; i < 3; i++) stage.settle();
      expect(modes(stage)[0]).toBe("relay");
      expect(stage.pass(48)).toEqual({ lost: 0, duplicates: 0 });
      // A relay thread tells after the frames have come.
      stage.settle();
      expect(modes(stage)[0]).toBe("direct");
      expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
    });

    test("without RING_RESET rings stay relayed", () => {
      const stage = stageOf(
        { packed: true, layouts: ["single"] },
        { withhold: 1n << BigInt(F.VIRTIO_F_RING_RESET) },
      );
      stage.start();
      migrateAndCancel(stage);
      expect(stage.pass(500)).toEqual({ lost: 0, duplicates: 0 });
      expect(modes(stage)).toEqual(["relay", "relay"]);
    });
  });
}
