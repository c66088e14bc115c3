import { describe, expect, test } from "bun:test";
import { Channel } from "../support/front-end/channel.ts";
import type { Guest } from "../support/front-end/guest.ts";
import { PageLog } from "../support/front-end/page-log.ts";
import { Feature } from "../support/front-end/protocol.ts";
import type { Daemon } from "./support/daemon.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { passFrames } from "./support/well-behaved.ts";

const { start, guestOf, atEnd } = forEachTest();

function newLog(): PageLog {
  const log = new PageLog();
  atEnd(() => log.close());
  return log;
}

const errors = (daemon: Daemon) => daemon.log.filter((line) => /^error/.test(line));

const isDirect = (line: string, queue: number) =>
  line.startsWith(`queue ${queue} `) && line.includes(" direct doorbell ioeventfd");

/** Keeps frames flowing while `body` works, and checks them all afterwards. */
async function during(guest: Guest, from: number, body: () => Promise<void>) {
  let done = false;
  const traffic = passFrames(guest, { from, until: () => done });
  try {
    await body();
  } finally {
    done = true;
    await traffic;
  }
}

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    const layouts = packed ? { layouts: ["single", "indirect"] as const } : {};
    for (const eventIdx of [false, true]) {
      test(`a migration's log, switched on and off under traffic${eventIdx ? ", event idx" : ""}`, async () => {
        const daemon = await start();
        const guest = await guestOf(daemon, { packed, eventIdx, indirect: true, ...layouts });
        const log = newLog();
        await during(guest, 0, async () => {
          await Bun.sleep(50);
          await guest.setLogging(log);
          await Bun.sleep(50);
        });
        await daemon.logged(/queue 3 tx size 256 relay/);
        await passFrames(guest, { frames: 2000, from: 10_000_000 });
        expect(log.missing(guest.machine.queues, packed)).toEqual([]);
        await guest.setLogging(undefined);
        log.clear();
        await passFrames(guest, { frames: 500, from: 20_000_000 });
        expect(log.count).toBe(0);
        expect(errors(daemon)).toEqual([]);
      }, 60_000);
    }

    test("idle and disabled rings are logged too, and go on", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, pairs: 4, enabledPairs: 1, indirect: true, ...layouts });
      await passFrames(guest, { frames: 10, pairs: [0] });
      const log = newLog();
      await guest.setLogging(log);
      await daemon.logged(/queue 7 tx size 256 relay doorbell none/);
      for (const pair of [1, 2, 3]) await guest.setPairEnabled(pair, true);
      await passFrames(guest, { frames: 500, from: 1000, pairs: [0, 1, 2, 3] });
      expect(log.missing(guest.machine.queues, packed)).toEqual([]);
      expect(errors(daemon)).toEqual([]);
    }, 60_000);

    test("a cancelled migration: rings go back to the device under traffic, and the next one succeeds", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, pairs: 1, indirect: true, ...layouts });
      for (let round = 0; round < 2; round++) {
        const log = newLog();
        const mark = daemon.log.length;
        const from = 10_000_000 * round;
        await passFrames(guest, { frames: 300, from });
        await guest.setLogging(log);
        await daemon.logged(/queue 1 tx size 256 relay/, mark);
        await passFrames(guest, { frames: 300, from: from + 1_000_000 });
        const direct = () => [0, 1].every((q) => daemon.log.slice(mark).some((l) => isDirect(l, q)));
        await guest.setLogging(undefined);
        const done = () => direct() || ++rounds > 100_000;
        let rounds = 0;
        await passFrames(guest, { from: from + 2_000_000, until: done });
        expect(direct()).toBe(true);
        await passFrames(guest, { frames: 1000, from: from + 5_000_000 });
      }
      expect(errors(daemon)).toEqual([]);
    }, 120_000);

    test("the log is complete once the rings have stopped, and another back-end goes on", async () => {
      const [source, destination] = [await start(), await start()];
      const guest = await guestOf(source, { packed, indirect: true, ...layouts });
      await passFrames(guest, { frames: 300 });
      const log = newLog();
      await guest.setLogging(log);
      await passFrames(guest, { frames: 1000, from: 1_000_000 });
      await guest.pause();
      expect(log.missing(guest.machine.queues, packed)).toEqual([]);
      await guest.reconnect(await Channel.connect(destination.socketPath));
      await guest.resume();
      await passFrames(guest, { frames: 300, from: 2_000_000 });
      expect([...errors(source), ...errors(destination)]).toEqual([]);
    }, 60_000);
  });
}

test("a log that is too small fails the stop, not silently", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon);
  const log = newLog();
  await guest.setLogging(log, 8n);
  await passFrames(guest, { frames: 300 });
  await expect(guest.fe.getVringBase(0)).rejects.toThrow(/closed/);
  await daemon.logged(/its dirty log is incomplete: page 0x[0-9a-f]+ could not be marked dirty/);
}, 60_000);

test("--datapath direct does not offer what it can not do", async () => {
  const guest = await guestOf(await start({ args: ["--datapath", "direct"] }));
  expect((await guest.fe.getFeatures()) & Feature.LOG_ALL).toBe(0n);
}, 60_000);
