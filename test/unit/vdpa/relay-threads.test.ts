import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { drainEventfd } from "../../../src/hw/ffi/eventfd.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import { DirtyLog } from "../../../src/memory/dirty-log.ts";
import { createRegions } from "../../support/front-end/guest-memory.ts";
import { PageLog } from "../../support/front-end/page-log.ts";
import { RelayStage, type StageOptions } from "./relay-stage.ts";

setDefaultTimeout(120_000);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function stageOf(options: StageOptions = {}, sim: SimOptions = {}): RelayStage {
  const stage = new RelayStage({ datapath: "relay", relayThreads: 1, ...options }, sim);
  cleanup.push(() => stage.close());
  return stage;
}

/** Longer than a thread takes to start on a busy machine, as its first answer has to wait for that. */
const LIMIT_MS = 4000;
const NOTHING_WRONG = { lost: 0, duplicates: 0 };
const PLAN = { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" };

/** What this process holds that a relay thread could forget to give back. */
const holdings = () => ({
  fds: readdirSync("/proc/self/fd").length,
  maps: readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("/memfd:")).length,
});

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    test("memory comes and goes under the rings of a thread", () => {
      const stage = stageOf({ packed });
      stage.start();
      for (let round = 0; round < 30; round++) {
        const [region] = createRegions([PLAN]);
        stage.send(8);
        stage.memory.add(region!);
        stage.send(8);
        // The thread lets go of what is unmapped, and of nothing else.
        stage.memory.remove(region!.description);
        region!.close();
        stage.pass(20);
      }
      stage.settle();
      expect(stage.report()).toEqual(NOTHING_WRONG);
      expect(stage.ringFaults).toBe(0);
    });

    test("while memory is being unmapped a thread stands still", () => {
      const stage = stageOf({ packed });
      stage.start();
      expect(stage.pass(20)).toEqual(NOTHING_WRONG);
      stage.settle();
      const [region] = createRegions([PLAN]);
      cleanup.push(() => region!.close());
      stage.memory.add(region!);
      const forwarded = () => stage.counters.queue(1).get("relay_forwarded");
      const seen: number[] = [];
      const unwatch = stage.memory.beforeUnmap(() => {
        seen.push(forwarded());
        stage.send(8);
        // Long enough for a thread that does not stand still to be seen.
        Bun.sleepSync(50);
        seen.push(forwarded());
      });
      stage.memory.remove(region!.description);
      unwatch();
      stage.settle();
      expect([...seen, forwarded()]).toEqual([20, 20, 28]);
      expect(stage.report()).toEqual(NOTHING_WRONG);
    });

    test("a table that can not be had leaves the rings running", () => {
      const stage = stageOf({ packed });
      stage.start();
      const [region] = createRegions([PLAN]);
      cleanup.push(() => region!.close());
      stage.memory.add(region!);
      const beyond = { ...region!.description, gpa: 1n << 60n };
      // One region goes and one comes that the device can not reach.
      expect(() =>
        stage.memory.replaceAll([...stage.regions, { description: beyond, fd: region!.fd }]),
      ).toThrow(/address bits/);
      expect(stage.pass(50)).toEqual(NOTHING_WRONG);
      stage.memory.replaceAll(stage.regions);
      expect(stage.pass(50)).toEqual(NOTHING_WRONG);
    });

    test("a ring whose memory is taken away stops with a fault", () => {
      const stage = stageOf({ packed });
      stage.start();
      expect(stage.pass(50)).toEqual(NOTHING_WRONG);
      const { desc } = stage.pair.tx.ring;
      const gone = stage.memory.regions.find(({ gpa, size }) => desc.gpa >= gpa && desc.gpa < gpa + size)!;
      stage.memory.remove(gone);
      expect(stage.ringFaults).toBeGreaterThan(0);
      stage.stop();
    });

    test("nothing is left of rings that were started and stopped again and again", () => {
      const stage = stageOf({ packed });
      stage.start();
      expect(stage.pass(20)).toEqual(NOTHING_WRONG);
      stage.stop();
      const before = holdings();
      for (let round = 0; round < 20; round++) {
        stage.start();
        expect(stage.pass(20)).toEqual(NOTHING_WRONG);
        stage.stop();
      }
      expect(holdings()).toEqual(before);
    });

    test("every entry is counted once", () => {
      const stage = stageOf({ packed });
      stage.start();
      expect(stage.pass(500)).toEqual(NOTHING_WRONG);
      stage.settle();
      const [rx, tx] = [0, 1].map((index) => stage.counters.queue(index).snapshot());
      expect(tx!.relay_completed).toBe(500);
      expect(tx!.relay_forwarded).toBe(500);
      expect(rx!.relay_completed).toBe(500);
    });

    test("pages that could not be logged are known once the ring has stopped", () => {
      const stage = stageOf({ packed });
      stage.start();
      const pages = new PageLog();
      const log = DirtyLog.map(pages.fd, 8n, 0n);
      cleanup.push(() => pages.close());
      const usedRings = new Map(stage.pair.queues.map(({ index, ring }) => [index, ring.used.gpa]));
      stage.device.setLogging({ log, data: true, usedRings });
      expect(stage.pass(50)).toEqual(NOTHING_WRONG);
      stage.stop();
      expect(log.failures).toBeGreaterThan(0);
      expect(log.firstFailure).toMatch(/page 0x[0-9a-f]+ could not be marked dirty: the log ends/);
      stage.device.setLogging(undefined);
      log.close();
    });
  });
}

test("a doorbell that the kernel does not ring is rung by the device's thread", () => {
  const stage = stageOf({}, { faults: { refuseDoorbell: true } });
  stage.start();
  const refusals = stage.lines.filter((line) =>
    /queue \d: the kernel does not ring this doorbell/.test(line),
  );
  expect(refusals).toHaveLength(2);
  expect(stage.pass(300)).toEqual(NOTHING_WRONG);
});

test("of queues that share a vector each call of the guest is counted once", () => {
  for (const relayThreads of [0, 1]) {
    const stage = stageOf({ relayThreads }, { msixVectors: 2 });
    stage.start();
    expect(stage.pass(300)).toEqual(NOTHING_WRONG);
    stage.settle();
    for (const { index, callFd } of stage.pair.queues) {
      // Nobody has read the eventfd: it holds how often it was signalled.
      const calls = Number(drainEventfd(callFd));
      expect(calls).toBeGreaterThan(0);
      expect(stage.counters.queue(index).get("calls_relayed")).toBe(calls);
    }
  }
});

test("a state says which thread moves a ring's entries", () => {
  const stage = stageOf({ relayThreads: 2 });
  stage.start();
  expect(stage.device.queues().map((q) => q.thread)).toEqual([0, 0]);
  expect(stage.relayThreads!.threads.of(2).number).toBe(1);
  expect(stage.relayThreads!.threads.of(5).number).toBe(0);
});

describe("a thread that is lost", () => {
  test("dies: the device's thread ends with an error, and stops the device in order", () => {
    const stage = stageOf();
    stage.start();
    expect(stage.pass(50)).toEqual(NOTHING_WRONG);
    stage.relayThreads!.order(0, "DIE");
    stage.send(1);
    expect(() => {
      for (;;) stage.turn();
    }).toThrow("relay thread 0 is not reachable: its thread has died");
    expect(() => stage.stop()).toThrow("queue 0 has lost its position");
    stage.device.stop();
    expect(stage.ringFaults).toBe(2);
    expect(stage.lines.filter((line) => /queue \d was not stopped in order/.test(line))).toHaveLength(2);
    // It uses nothing any more.
    stage.memory.clear();
    expect(stage.memory.count).toBe(0);
  });

  test("hangs: nobody waits for it for ever, and what it may still use stays", async () => {
    const stage = stageOf({ threadLimitMs: LIMIT_MS });
    stage.start();
    expect(stage.pass(50)).toEqual(NOTHING_WRONG);
    stage.relayThreads!.order(0, "HANG");
    stage.send(1);
    const why = "relay thread 0 is not reachable: its thread has not answered within 4 s";
    expect(() => {
      // The request that wakes it, if the kick did not.
      for (let i = 0; i < 2; i++) stage.device.setVringCall(0, stage.pair.rx.callFd);
    }).toThrow(why);
    expect(() => stage.turn()).toThrow(why);
    stage.device.stop();
    expect(() => stage.memory.clear()).toThrow(why);
    expect(stage.memory.count).toBe(stage.regions.length);
    stage.relayThreads!.order(0, "DIE");
    await stage.relayThreads!.ended;
    stage.memory.clear();
  });
});
