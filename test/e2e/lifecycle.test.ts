import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Refused } from "../support/front-end/front-end.ts";
import { connectGuest, type Guest } from "../support/front-end/guest.ts";
import { createRegions } from "../support/front-end/guest-memory.ts";
import { Protocol, Request, words } from "../support/front-end/protocol.ts";
import { qemu, startRing } from "../support/front-end/sequences.ts";
import { exchange } from "../support/front-end/traffic.ts";
import { ONCE_MS } from "./support/daemon.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const { start, guestOf, atEnd } = forEachTest();

/** Keeps frames flowing while `body` works, and checks them all afterwards. */
async function during(guest: Guest, pairs: readonly number[], from: number, body: () => Promise<void>) {
  let done = false;
  const traffic = passFrames(guest, { pairs, from, until: () => done });
  try {
    await body();
  } finally {
    done = true;
    await traffic;
  }
}

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    test("pairs are enabled and disabled at run time", async () => {
      const guest = await guestOf(await start(), { packed, pairs: 4, enabledPairs: 1 });
      await passFrames(guest, { frames: 200, pairs: [0] });
      for (const pair of [1, 2, 3]) await guest.setPairEnabled(pair, true);
      await passFrames(guest, { frames: 200, from: 200, pairs: [0, 1, 2, 3] });
      await guest.setPairEnabled(3, false);
      await guest.setPairEnabled(2, false);
      await passFrames(guest, { frames: 200, from: 400, pairs: [0, 1] });
      await guest.setPairEnabled(2, true);
      await guest.setPairEnabled(3, true);
      await passFrames(guest, { frames: 200, from: 600, pairs: [0, 1, 2, 3] });
    }, 60_000);

    test("kick and call eventfds are replaced while frames flow", async () => {
      const guest = await guestOf(await start(), { packed });
      await during(guest, [0, 1], 0, async () => {
        for (let i = 0; i < 20; i++) {
          for (const queue of guest.machine.queues) {
            await guest.replaceKick(queue);
            await guest.replaceCall(queue);
          }
        }
      });
      await passFrames(guest, { frames: 200, from: 10_000_000 });
    }, 60_000);

    test("memory is added and removed while frames flow", async () => {
      const guest = await guestOf(await start(), { packed });
      const plan = { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" };
      await during(guest, [0, 1], 0, async () => {
        for (let i = 0; i < 10; i++) {
          const [region] = createRegions([plan]);
          await guest.fe.addMemReg(region!.description, region!.fd);
          await guest.fe.remMemReg(region!.description);
          region!.close();
        }
      });
      await passFrames(guest, { frames: 200, from: 10_000_000 });
    }, 60_000);

    test("a table that grows by SET_MEM_TABLE leaves running rings alone", async () => {
      const guest = await guestOf(await start(), { packed, without: Protocol.CONFIGURE_MEM_SLOTS });
      const plan = { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" };
      const [region] = createRegions([plan]);
      atEnd(() => region!.close());
      const table = [...guest.regions, region!];
      await during(guest, [0, 1], 0, async () => {
        for (let i = 0; i < 10; i++) {
          for (const now of [table, guest.regions]) {
            await guest.fe.setMemTable(
              now.map((r) => r.description),
              now.map((r) => r.fd),
            );
          }
        }
      });
    }, 60_000);

    test("stop and start again from the beginning of the rings", async () => {
      const guest = await guestOf(await start(), { packed });
      for (let round = 0; round < 5; round++) {
        await passFrames(guest, { frames: 100, from: 100 * round });
        const bases = await guest.stop();
        expect(bases).toHaveLength(4);
        if (!packed) expect(bases[1]).toBe(100);
        await guest.start();
      }
      await passFrames(guest, { frames: 100, from: 1000 });
    }, 60_000);

    test("one ring is stopped and started while the other pair carries frames", async () => {
      const guest = await guestOf(await start(), { packed });
      await passFrames(guest, { frames: 100 });
      await during(guest, [0], 100, async () => {
        const pair = guest.pairs[1]!;
        for (const queue of pair.queues) {
          await guest.fe.getVringBase(queue.index);
          queue.reset();
          await startRing(guest.fe, queue);
        }
        pair.refill();
        await guest.fe.barrier();
      });
      await passFrames(guest, { frames: 100, from: 5_000_000 });
    }, 60_000);

    test("a ring of the first pair that stands still leaves the other pairs at work", async () => {
      const guest = await guestOf(await start(), { packed });
      await passFrames(guest, { frames: 100 });
      for (const queue of guest.pairs[0]!.queues) {
        await guest.fe.getVringBase(queue.index);
        await passFrames(guest, { frames: 100, from: 1000 * (1 + queue.index), pairs: [1] });
        queue.reset();
        await startRing(guest.fe, queue);
      }
      guest.pairs[0]!.refill();
      await guest.fe.barrier();
      await passFrames(guest, { frames: 100, from: 5_000_000 });
    }, 60_000);

    test("without relaying, a base that a fresh device can not take is refused with a reason", async () => {
      const daemon = await start({ args: ["--datapath", "direct"] });
      const mark = daemon.log.length;
      const base = packed ? 0x8007_8007 : 7;
      const outcome = await connectGuest({ socketPath: daemon.socketPath, packed, base }).catch(
        (error) => error,
      );
      expect(outcome).toBeInstanceOf(Refused);
      await daemon.logged(/(index|position) 7\b/, mark);
      await wellBehaved(daemon, { packed });
    }, 60_000);

    test("firmware with one pair and few features, then the system with all of them", async () => {
      const guest = await guestOf(await start(), { packed, pairs: 4, eventIdx: true, indirect: true });
      await guest.stop();
      const firmware = { ...guest.machine, queues: guest.machine.queues.slice(0, 2), enabledPairs: 1 };
      const few = guest.features & ~((1n << 29n) | (1n << 28n) | (1n << 22n));
      await qemu.start(guest.fe, firmware, few);
      await qemu.stop(guest.fe, firmware);
      await guest.start();
      await passFrames(guest, { frames: 100 });
    }, 60_000);
  });
}

test("a front-end killed in the middle of its traffic leaves nothing behind", async () => {
  const daemon = await start();
  await wellBehaved(daemon);
  await daemon.backTo({ fds: daemon.holdings().fds, maps: 0 });
  const rest = daemon.holdings();
  for (let round = 0; round < 3; round++) {
    const script = join(import.meta.dir, "support/endless-front-end.ts");
    const child = Bun.spawn([process.execPath, script, daemon.socketPath], {
      stdout: "pipe",
      stderr: "inherit",
    });
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    expect(new TextDecoder().decode(value)).toStartWith("flowing");
    child.kill("SIGKILL");
    await child.exited;
    await daemon.backTo(rest);
    await wellBehaved(daemon);
  }
  expect(await daemon.stop()).toBe(0);
}, 120_000);

test("SIGTERM while frames flow: the front-end is closed, the socket removed, exit 0, in time", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon, { pairs: 8 });
  let ended = false;
  const traffic = exchange(guest, { until: () => ended, patienceMs: 200 });
  await exchangeStarted(guest);
  const before = performance.now();
  const code = daemon.stop();
  await guest.fe.channel.closed();
  expect(await code).toBe(0);
  // A second is promised; the bound leaves room for a machine five times slower.
  expect(performance.now() - before).toBeLessThan(5_000);
  expect(daemon.socketExists).toBe(false);
  expect(daemon.log.filter((line) => /^(error|warning)/.test(line))).toEqual([]);
  ended = true;
  await traffic;
}, 60_000);

test("SIGINT ends it likewise, and says that it was interrupted", async () => {
  const daemon = await start();
  await wellBehaved(daemon);
  expect(await daemon.stop("SIGINT")).toBe(130);
  expect(daemon.socketExists).toBe(false);
}, 60_000);

test("without rings enabled nothing flows, and what waits goes through once they are", async () => {
  const guest = await guestOf(await start(), { pairs: 2, enabledPairs: 1 });
  const late = exchange(guest, { pairs: [1], frames: 50, patienceMs: ONCE_MS });
  await passFrames(guest, { pairs: [0], frames: 500, from: 1_000_000 });
  await guest.setPairEnabled(1, true);
  const [report] = await late;
  // A disabled transmit ring may drop what it is given (vhost-user "Ring states"), but must not repeat or bend it.
  expect(report).toMatchObject({ duplicates: 0, wrong: [] });
  await passFrames(guest, { frames: 100, from: 2_000_000 });
}, 60_000);

test("requests that only ask may come at any time", async () => {
  const guest = await guestOf(await start());
  await during(guest, [0, 1], 0, async () => {
    for (let i = 0; i < 100; i++) {
      await guest.fe.getFeatures();
      await guest.fe.getProtocolFeatures();
      await guest.fe.getQueueNum();
      await guest.fe.getStatus();
      await guest.fe.getMaxMemSlots();
    }
    await guest.fe.set(Request.NET_SET_MTU, words(1500n));
  });
}, 60_000);

/** Waits until the guest has had interrupts on its first receive queue. */
async function exchangeStarted(guest: Guest): Promise<void> {
  while ((guest.interrupts[0] ?? 0) === 0) await Bun.sleep(5);
}
