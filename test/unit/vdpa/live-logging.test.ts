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

function newLog(): PageLog {
  const log = new PageLog();
  cleanup.push(() => log.close());
  return log;
}

const modes = (stage: RelayStage) => stage.device.queues().map((q) => q.mode);
const NO_RESET = 1n << BigInt(F.VIRTIO_F_RING_RESET);

for (const relayThreads of [0, 1]) {
  function stageOf(options: StageOptions = {}, sim: SimOptions = {}): RelayStage {
    const stage = new RelayStage({ ...options, relayThreads }, sim);
    cleanup.push(() => stage.close());
    return stage;
  }

  describe(relayThreads ? "in a relay thread" : "in the device's thread", () => {
    for (const packed of [false, true]) {
      // Chains of one ring descriptor each: a packed ring shows its position only then.
      const shown: StageOptions = { packed, layouts: ["single", "indirect"] };
      describe(packed ? "packed" : "split", () => {
        for (const eventIdx of [false, true]) {
          test(`logging moves direct rings to the relay in the middle of traffic (${eventIdx ? "event idx" : "flags"})`, async () => {
            for (let round = 0; round < 6; round++) {
              const stage = new RelayStage({ ...shown, eventIdx, relayThreads }, {});
              const pages = new PageLog();
              stage.start();
              expect(stage.pass(17 * round)).toEqual({ lost: 0, duplicates: 0 });
              stage.send(16);
              if (round % 2) stage.turn();
              // A packed receive ring shows the order of its entries only while it is full, and the driver is this thread.
              if (packed) stage.settle();
              const log = stage.logTo(pages);
              expect(modes(stage)).toEqual(["relay", "relay"]);
              stage.settle();
              expect(stage.report()).toEqual({ lost: 0, duplicates: 0 });
              expect(stage.pass(300)).toEqual({ lost: 0, duplicates: 0 });
              expect(pages.missing(stage.pair.queues, packed)).toEqual([]);
              expect(log.failures).toBe(0);
              stage.device.setLogging(undefined);
              log.close();
              pages.close();
              await stage.close();
            }
          });
        }

        test("without RING_RESET the whole device is reset and told everything anew", () => {
          const stage = stageOf(shown, { withhold: NO_RESET });
          stage.start();
          expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
          const resets = stage.counters.get("resets");
          const pages = newLog();
          const log = stage.logTo(pages);
          expect(stage.counters.get("resets")).toBe(resets + 1);
          expect(modes(stage)).toEqual(["relay", "relay"]);
          expect(stage.pass(300)).toEqual({ lost: 0, duplicates: 0 });
          expect(pages.missing(stage.pair.queues, packed)).toEqual([]);
          stage.device.setLogging(undefined);
          log.close();
        });

        test("a log is replaced under traffic, and nothing is logged once it is off", () => {
          const stage = stageOf({ packed, datapath: "relay" });
          stage.start();
          const [first, second] = [newLog(), newLog()];
          const firstLog = stage.logTo(first);
          expect(stage.pass(200)).toEqual({ lost: 0, duplicates: 0 });
          expect(first.missing(stage.pair.queues, packed)).toEqual([]);
          const secondLog = stage.logTo(second);
          firstLog.close();
          expect(stage.pass(200)).toEqual({ lost: 0, duplicates: 0 });
          expect(second.missing(stage.pair.queues, packed)).toEqual([]);
          stage.device.setLogging(undefined);
          second.clear();
          expect(stage.pass(200)).toEqual({ lost: 0, duplicates: 0 });
          expect(second.count).toBe(0);
          secondLog.close();
        });

        test("a stop logs the buffers that the device still held", () => {
          const stage = stageOf({ packed, datapath: "relay" });
          stage.start();
          const pages = newLog();
          const log = stage.logTo(pages);
          stage.settle();
          stage.stop();
          // Not one frame has come, but the device may have written any of the buffers it was given.
          expect(pages.missing([stage.pair.rx], packed)).toEqual([]);
          stage.device.setLogging(undefined);
          log.close();
        });
      });
    }

    for (const receive of ["single", "chain"] as const) {
      test(`idle packed rings, ${receive} receive buffers and transmit chains, show their position and are logged`, () => {
        const stage = stageOf({ packed: true, layouts: [receive], transmitLayouts: ["chain"] });
        stage.start();
        expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
        stage.settle();
        const pages = newLog();
        const log = stage.logTo(pages);
        expect(modes(stage)).toEqual(["relay", "relay"]);
        expect(stage.pass(300)).toEqual({ lost: 0, duplicates: 0 });
        expect(stage.foreign).toEqual([]);
        stage.device.setLogging(undefined);
        log.close();
      });
    }

    test("where a ring's position does not show, logging is refused and the ring runs on as it was", () => {
      // Receive buffers that differ, as no driver posts them.
      const stage = stageOf({ packed: true, layouts: ["chain", "single"] });
      stage.start();
      expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
      const pages = newLog();
      expect(() => stage.logTo(pages)).toThrow(/queue \d can not be relayed from where it is/);
      expect(modes(stage)).toContain("direct");
      expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
    });

    test("with --datapath direct nothing can be logged", () => {
      const stage = stageOf({ datapath: "direct" });
      expect(stage.device.canLog).toBe(false);
    });
  });
}
