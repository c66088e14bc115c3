import { afterEach, describe, expect, test } from "bun:test";
import { connectGuest, type Guest, type GuestOptions } from "../support/front-end/guest.ts";
import { createRegions } from "../support/front-end/guest-memory.ts";
import { PageLog } from "../support/front-end/page-log.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import { eventually } from "../support/front-end/wait.ts";
import { Daemon, ONCE_MS, run } from "./support/daemon.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(datapath: "auto" | "relay" = "relay", threads = 2): Promise<Daemon> {
  const args = ["--datapath", datapath, "--relay-threads", `${threads}`];
  const daemon = await Daemon.start({ args });
  cleanup.push(() => daemon.dispose());
  return daemon;
}

async function guestOf(daemon: Daemon, options: GuestOptions = {}): Promise<Guest> {
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 4, ...options });
  cleanup.push(() => guest.close());
  return guest;
}

const errors = (daemon: Daemon) => daemon.log.filter((line) => /^error/.test(line));

/** Keeps frames flowing on all pairs while `body` works, and accounts for every one afterwards. */
async function during(guest: Guest, from: number, body: () => Promise<void>): Promise<void> {
  let done = false;
  const traffic = exchange(guest, { from, until: () => done });
  try {
    await body();
  } finally {
    done = true;
  }
  expect(trafficProblem(await traffic)).toBeUndefined();
}

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    for (const eventIdx of [false, true]) {
      test(`every frame of four pairs comes back once${eventIdx ? ", event idx" : ""}`, async () => {
        const daemon = await start();
        for (const ringSize of [8, 256]) {
          await wellBehaved(daemon, { packed, pairs: 4, eventIdx, indirect: true, ringSize }, 1000);
        }
        for (const pair of [0, 1, 2, 3]) {
          await daemon.logged(new RegExp(`queue ${2 * pair + 1} tx .* relay .* thread ${pair % 2}$`));
        }
        expect(errors(daemon)).toEqual([]);
      }, 60_000);
    }

    test("more threads than pairs, and one for all", async () => {
      for (const threads of [1, 5]) {
        const daemon = await start("relay", threads);
        await wellBehaved(daemon, { packed, pairs: 2 }, 500);
        await daemon.logged(new RegExp(`queue 2 rx .* thread ${threads === 1 ? 0 : 1}$`));
        expect(await daemon.stop()).toBe(0);
        expect(errors(daemon)).toEqual([]);
      }
    }, 60_000);

    test("stop and cont in the middle of traffic", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, eventIdx: true });
      for (let round = 0; round < 12; round++) {
        await passFrames(guest, { frames: 37 + 11 * round, from: 10_000 * round });
        await guest.pause();
        const traffic = exchange(guest, { frames: 100, from: 10_000 * round + 5000 });
        await guest.resume();
        expect(trafficProblem(await traffic)).toBeUndefined();
      }
      expect(errors(daemon)).toEqual([]);
    }, 120_000);

    test("logging under traffic marks every page that the device side writes", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, indirect: true });
      for (let round = 0; round < 3; round++) {
        const log = new PageLog();
        cleanup.push(() => log.close());
        const from = 100_000_000 * round;
        await during(guest, from, () => guest.setLogging(log));
        await passFrames(guest, { frames: 1000, from: from + 50_000_000 });
        expect(log.missing(guest.machine.queues, packed)).toEqual([]);
        await guest.setLogging(undefined);
        log.clear();
        await passFrames(guest, { frames: 300, from: from + 60_000_000 });
        expect(log.count).toBe(0);
      }
      expect(errors(daemon)).toEqual([]);
    }, 120_000);

    test("from direct to the threads for a log, and back, under traffic", async () => {
      const daemon = await start("auto");
      const guest = await guestOf(daemon, { packed, pairs: 2, layouts: ["single"] });
      const log = new PageLog();
      cleanup.push(() => log.close());
      await passFrames(guest, { frames: 300 });
      await guest.setLogging(log);
      await daemon.logged(/queue 3 tx .* relay .* thread 1$/);
      await passFrames(guest, { frames: 300, from: 1_000_000 });
      expect(log.missing(guest.machine.queues, packed)).toEqual([]);
      const mark = daemon.log.length;
      await guest.setLogging(undefined);
      const isDirect = (queue: number) =>
        daemon.log.slice(mark).some((line) => new RegExp(`^queue ${queue} .* direct doorbell`).test(line));
      let rounds = 0;
      const all = () => [0, 1, 2, 3].every(isDirect) || ++rounds > 200_000;
      await passFrames(guest, { from: 2_000_000, until: all });
      expect([0, 1, 2, 3].filter((queue) => !isDirect(queue))).toEqual([]);
      await passFrames(guest, { frames: 500, from: 9_000_000 });
      expect(errors(daemon)).toEqual([]);
    }, 180_000);

    test("memory comes and goes under traffic", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, eventIdx: true });
      const plan = { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" };
      await during(guest, 0, async () => {
        for (let i = 0; i < 30; i++) {
          const [region] = createRegions([plan]);
          await guest.fe.addMemReg(region!.description, region!.fd);
          await guest.fe.remMemReg(region!.description);
          region!.close();
        }
      });
      expect(errors(daemon)).toEqual([]);
    }, 60_000);

    test("pairs and eventfds change under traffic", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, enabledPairs: 1 });
      await passFrames(guest, { frames: 200, pairs: [0] });
      for (const pair of [1, 2, 3]) await guest.setPairEnabled(pair, true);
      let done = false;
      const traffic = exchange(guest, { pairs: [0, 1, 2, 3], from: 1000, until: () => done });
      for (let i = 0; i < 10; i++) {
        for (const queue of guest.machine.queues) {
          await guest.replaceKick(queue);
          await guest.replaceCall(queue);
        }
      }
      done = true;
      expect(trafficProblem(await traffic)).toBeUndefined();
      expect(errors(daemon)).toEqual([]);
    }, 60_000);

    test("front-ends that come and go leave nothing behind", async () => {
      const daemon = await start();
      await wellBehaved(daemon, { packed, pairs: 4 });
      const rest = daemon.holdings();
      for (let round = 0; round < 15; round++) {
        if (round % 2) await wellBehaved(daemon, { packed, pairs: 4 }, 50);
        else {
          // In the middle of its traffic, without a word.
          const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 4, packed });
          await passFrames(guest, { frames: 50 });
          for (const pair of guest.pairs) pair.tx.signal();
          guest.close();
        }
        await daemon.backTo(rest);
      }
      expect(errors(daemon)).toEqual([]);
    }, 120_000);

    test("nonsense in a ring stops it, and no other", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed });
      await passFrames(guest, { frames: 100 });
      const { tx } = guest.pairs[1]!;
      if (packed) {
        // A chain that never ends, available in this lap (wrap counter 1).
        for (let i = 0; i < 256; i++) tx.ring.desc.u16[8 * i + 7] = 0x80 | 1;
        tx.signal();
      } else {
        tx.ring.avail.u16[1] = 5000;
        tx.signal();
      }
      await daemon.logged(/queue 3 stops after a fault of the guest's in its ring/);
      // Pair 3 is moved by the same thread, the others by the other one.
      await passFrames(guest, { frames: 1000, pairs: [0, 2, 3], from: 1_000_000_000 });
      expect(errors(daemon)).toHaveLength(1);
      await guest.stop();
      guest.close();
      await wellBehaved(daemon, { packed, pairs: 4 });
    }, 60_000);

    test("SIGTERM in the middle of traffic ends all threads", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed });
      let rounds = 0;
      const traffic = exchange(guest, {
        until: () => !daemon.running,
        // Of the frames on their way at the end none comes back; before, a busy machine may pause.
        patienceMs: 3000,
        onRound: () => void rounds++,
      });
      await eventually(() => rounds > 100, ONCE_MS, "frames to flow");
      expect(await daemon.stop()).toBe(0);
      await traffic;
      expect(daemon.socketExists).toBe(false);
      // In order, not by running out of time.
      expect(daemon.log.filter((line) => /^(error|warning)/.test(line))).toEqual([]);
    }, 60_000);
  });
}

test("memory of several GiB, sparse, with buffers at its end", async () => {
  const gib = 2 ** 30;
  const tail = 2 ** 23;
  for (const threads of [0, 2]) {
    const memory = [
      { gpa: 0n, uva: 0x7f00_0000_0000n, size: 3 * gib, tail, file: "big" },
      { gpa: 0x1_0000_0000n, uva: 0x7f01_0000_0000n, size: 5 * gib, tail, file: "big" },
    ];
    const guest = await guestOf(await start("relay", threads), { pairs: 2, memory });
    await passFrames(guest, { frames: 300 });
  }
}, 60_000);

test("with --doorbell relay the device's thread rings for the others", async () => {
  const daemon = await Daemon.start({
    args: ["--datapath", "relay", "--relay-threads", "2", "--doorbell", "relay"],
  });
  cleanup.push(() => daemon.dispose());
  await wellBehaved(daemon, { pairs: 4 }, 500);
  expect(errors(daemon)).toEqual([]);
}, 60_000);

test("--relay-threads has no meaning with --datapath direct", async () => {
  const { code, err } = await run([
    ...["serve", "--sim", "--socket", "/tmp/unused.sock"],
    ...["--datapath", "direct", "--relay-threads", "2"],
  ]);
  expect(code).toBe(2);
  expect(err).toContain("--relay-threads has no meaning with --datapath direct");
});

test("a service that can not start ends its relay threads too", async () => {
  const { code, err } = await run(["serve", "--sim", "--socket", "/nonexistent/s", "--relay-threads", "2"]);
  expect(code).not.toBe(0);
  expect(err).toContain("/nonexistent");
}, 60_000);
