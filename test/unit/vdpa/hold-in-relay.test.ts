import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { RelayStage, type StageOptions } from "./relay-stage.ts";

setDefaultTimeout(120_000);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function stageOf(options: StageOptions = {}): RelayStage {
  const stage = new RelayStage(options, {});
  cleanup.push(() => stage.close());
  return stage;
}

const modes = (stage: RelayStage) => stage.device.queues().map((q) => q.mode);

for (const packed of [false, true]) {
  const layouts = packed ? (["single", "indirect"] as const) : (["single", "chain", "indirect"] as const);

  describe(packed ? "packed" : "split", () => {
    test("rings are relayed while they are held, past every boundary, and then go back", () => {
      const stage = stageOf({ packed, layouts });
      stage.start();
      expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
      stage.settle();
      stage.device.holdInRelay(true);
      expect(modes(stage)).toEqual(["relay", "relay"]);
      expect(stage.pass(packed ? 1000 : 67_000)).toEqual({ lost: 0, duplicates: 0 });
      expect(modes(stage)).toEqual(["relay", "relay"]);
      stage.device.holdInRelay(false);
      for (let frames = 0; modes(stage).includes("relay") && frames < 140_000; frames += 100) {
        expect(stage.pass(100)).toEqual({ lost: 0, duplicates: 0 });
      }
      expect(modes(stage)).toEqual(["direct", "direct"]);
    });

    test("held and let go in the middle of traffic, a ring is never the device's while it is held", () => {
      const stage = stageOf({ packed, layouts: ["single"], relayThreads: 1, datapath: "auto" });
      stage.start();
      for (let round = 0; round < 60; round++) {
        // A thread that says that its ring can be handed back may be told to hold it before it is heard.
        stage.send(round % 50);
        if (round % 3) stage.turn();
        stage.device.holdInRelay(true);
        stage.turn();
        expect(modes(stage)).toEqual(["relay", "relay"]);
        stage.device.holdInRelay(false);
        stage.pass(packed ? 40 : 10);
      }
      stage.settle();
      expect(stage.report()).toEqual({ lost: 0, duplicates: 0 });
    });

    test("rings that start while they are to be held are relayed from the beginning", () => {
      const stage = stageOf({ packed, layouts });
      stage.device.holdInRelay(true);
      stage.start();
      expect(modes(stage)).toEqual(["relay", "relay"]);
      expect(stage.pass(200)).toEqual({ lost: 0, duplicates: 0 });
    });
  });
}

test("a device that may not relay says so", () => {
  const stage = stageOf({ datapath: "direct" });
  stage.start();
  expect(() => stage.device.holdInRelay(true)).toThrow(/can not be relayed.*--datapath direct/s);
  expect(modes(stage)).toEqual(["direct", "direct"]);
  expect(stage.pass(50)).toEqual({ lost: 0, duplicates: 0 });
});
