import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import * as F from "../../../src/hw/virtio/features.ts";
import type { QueueState } from "../../../src/vdpa/ring.ts";
import { RelayStage, type StageOptions } from "./relay-stage.ts";

setDefaultTimeout(120_000);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

const modes = (queues: QueueState[]) => queues.map((q) => [q.mode, q.doorbell, q.call]);

// Whether the device's thread moves the entries or another one, nobody is to notice.
for (const relayThreads of [0, 1]) {
  function stageOf(options: StageOptions = {}, sim: SimOptions = {}): RelayStage {
    const stage = new RelayStage({ ...options, relayThreads }, sim);
    cleanup.push(() => stage.close());
    return stage;
  }

  describe(relayThreads ? "in a relay thread" : "in the device's thread", () => {
    for (const packed of [false, true]) {
      describe(packed ? "packed" : "split", () => {
        test("a ring runs directly from its beginning, and relayed from where it was stopped", () => {
          const stage = stageOf({ packed, layouts: ["single"] });
          stage.start();
          expect(modes(stage.device.queues())).toEqual(Array(2).fill(["direct", "ioeventfd", "direct"]));
          for (let round = 0; round < 20; round++) {
            expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
            stage.stop();
            stage.start();
            // A packed ring of 64 entries is at its beginning again after 128 of them, and a split one after 65536.
            if (!packed || round === 0) {
              expect(modes(stage.device.queues())).toEqual(Array(2).fill(["relay", "relay", "relay"]));
            }
          }
          expect(stage.ringFaults).toBe(0);
        });

        test("what the device has sent is seen at the guest's next kick, however late its interrupt comes", () => {
          const stage = stageOf({ packed, datapath: "relay", layouts: ["single"] });
          stage.start();
          const transmit = stage.device.queues().find(({ type }) => type === "tx")!;
          stage.fn.setVector(transmit.vector, -1);
          // A guest that looks for room in its ring only before it sends, and drops what has none.
          for (let round = 0; round < 20; round++) {
            expect(stage.send(16)).toBe(16);
            for (let i = 0; i < 2000 && stage.report().lost > 0; i++) stage.turn();
            expect(stage.report()).toEqual({ lost: 0, duplicates: 0 });
          }
        });

        for (const eventIdx of [false, true]) {
          for (const shuffleSeed of [undefined, 7]) {
            const traits = `${eventIdx ? "event idx" : "flags"}${shuffleSeed ? ", completed out of order" : ""}`;
            test(`stopped in the middle of its traffic: nothing twice, no entry lost (${traits})`, () => {
              const stage = stageOf(
                { packed, eventIdx, datapath: "relay" },
                shuffleSeed === undefined ? {} : { shuffleSeed },
              );
              stage.start();
              for (let round = 0; round < 60; round++) {
                stage.send(5 + ((round * 7) % 50));
                stage.turn();
                stage.stop();
                stage.start();
              }
              stage.settle();
              // What the device itself held at a reset is gone; every buffer has come back all the same.
              expect(stage.report().duplicates).toBe(0);
              expect(stage.outstandingTx).toBe(0);
              expect(stage.pass(300)).toEqual({ lost: 0, duplicates: 0 });
              expect(stage.ringFaults).toBe(0);
            });
          }
        }

        test("one ring is stopped and started alone, and together with all where RING_RESET is missing", () => {
          for (const withhold of [0n, 1n << BigInt(F.VIRTIO_F_RING_RESET)]) {
            const stage = stageOf({ packed, datapath: "relay" }, { withhold });
            stage.start();
            expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
            if (withhold === 0n) {
              for (let round = 0; round < 10; round++) {
                stage.restart(1);
                stage.restart(0);
                expect(stage.pass(30)).toEqual({ lost: 0, duplicates: 0 });
              }
            }
            stage.stop();
            stage.start();
            expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
          }
        });

        test("its memory is reserved while it runs and given back", () => {
          const stage = stageOf({ packed, datapath: "relay" });
          const free = () => stage.memory.lowestMeeting(0xffff_0000_0000n, 0xffff_ffff_ffffn);
          for (let round = 0; round < 3; round++) {
            stage.start();
            expect(free()).toBeDefined();
            stage.stop();
            expect(free()).toBeUndefined();
          }
          stage.start();
          stage.device.stop();
          expect(free()).toBeUndefined();
        });
      });
    }

    for (const withhold of [0n, 1n << BigInt(F.VIRTIO_F_RING_RESET)]) {
      test(`a packed ring of chains stops where the device stood (${withhold ? "with the device" : "alone"})`, () => {
        const stage = stageOf(
          { packed: true, layouts: ["single"], transmitLayouts: ["chain"] },
          { withhold },
        );
        for (let round = 0; round < 6; round++) {
          stage.start();
          expect(stage.pass(5 + 3 * round)).toEqual({ lost: 0, duplicates: 0 });
          stage.stop();
          expect(stage.bases[1]).toBe(stage.pair.tx.ring.nextBase);
        }
        expect(stage.ringFaults).toBe(0);
        expect(stage.foreign).toEqual([]);
        expect(stage.lines.filter((line) => /not certain/.test(line) && /queue 1/.test(line))).toEqual([]);
      });
    }

    test("used lengths beyond the buffers are counted, and said once", () => {
      const stage = stageOf({ datapath: "relay" });
      stage.start();
      stage.fn.inject({ usedLenTooLong: true });
      stage.send(4);
      const anomalies = () =>
        [0, 1].reduce((sum, index) => sum + stage.counters.queue(index).get("anomalies"), 0);
      // What comes back has a wrong length, so nobody takes it.
      for (let i = 0; i < 2000 && anomalies() < 8; i++) stage.loop.runOnce(5);
      expect(anomalies()).toBe(8);
      const said = stage.lines.filter((line) =>
        line.includes("the device reports more bytes than a buffer has"),
      );
      // A relay thread has a log of its own.
      expect(said).toHaveLength(relayThreads ? 0 : 2);
      expect(stage.ringFaults).toBe(0);
      stage.fn.inject({ usedLenTooLong: false });
      stage.stop();
    });

    test("a device that uses what it was never given is reported, and the ring can be started again", () => {
      const stage = stageOf({ datapath: "relay" });
      stage.start();
      expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
      stage.fn.inject({ wrongUsedId: true });
      stage.send(4);
      for (let i = 0; i < 2000 && stage.ringFaults === 0; i++) stage.turn();
      expect(stage.ringFaults).toBeGreaterThan(0);
      // A relay thread has a log of its own.
      const reported = stage.lines.filter((line) =>
        line.includes("stops after a fault of the device's in its ring"),
      );
      expect(reported).toHaveLength(relayThreads ? 0 : stage.ringFaults);
      stage.fn.inject({ wrongUsedId: false });
      stage.stop();
      stage.start();
      stage.settle();
      expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
    });
  });
}
