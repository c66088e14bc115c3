import { describe, expect, test } from "bun:test";
import { Channel } from "../support/front-end/channel.ts";
import type { GuestOptions } from "../support/front-end/guest.ts";
import { createRegions } from "../support/front-end/guest-memory.ts";
import { PageLog } from "../support/front-end/page-log.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import type { Daemon } from "./support/daemon.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const { start, guestOf, atEnd } = forEachTest();

/**
 * A packed ring on which the device itself worked shows its position only where a chain takes one descriptor of it;
 * relayed rings are known exactly.
 */
const SHOWN: GuestOptions = { layouts: ["single", "indirect"], indirect: true };

/** Transmit chains of several descriptors in the ring itself, whose end a used one hides. */
const CHAINS: GuestOptions = { layouts: ["single"], transmitLayouts: ["chain"], indirect: false };

/** No line that an operator would have to look into. */
function expectQuiet(daemon: Daemon): void {
  expect(daemon.log.filter((line) => /^error/.test(line))).toEqual([]);
}

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    for (const like of ["qemu", "dpdk"] as const) {
      for (const datapath of ["auto", "relay"]) {
        test(`stop and cont again and again, like ${like}, --datapath ${datapath}`, async () => {
          const daemon = await start({ args: ["--datapath", datapath] });
          const guest = await guestOf(daemon, {
            packed,
            like,
            eventIdx: true,
            indirect: true,
            ...(packed && datapath === "auto" ? SHOWN : {}),
          });
          for (let round = 0; round < 12; round++) {
            await passFrames(guest, { frames: 37 + 11 * round, from: 1000 * round });
            await guest.pause();
            await guest.resume();
          }
          await daemon.logged(/queue 1 tx size 256 relay doorbell relay vector 2 call relay/);
          await passFrames(guest, { frames: 2000, from: 1_000_000 });
          expectQuiet(daemon);
          // What the rings, their memory and eventfds took is given back.
          await guest.stop();
          guest.close();
          await wellBehaved(daemon, { packed });
        }, 120_000);
      }
    }

    test("an idle guest that sends chains stops and goes on, and is migrated", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, ringSize: 64, ...CHAINS });
      for (let round = 0; round < 4; round++) {
        await passFrames(guest, { frames: 20 + round, from: 1000 * round });
        await guest.pause();
        await guest.resume();
      }
      const log = new PageLog();
      atEnd(() => log.close());
      await guest.setLogging(log);
      await passFrames(guest, { frames: 200, from: 100_000 });
      await guest.pause();
      expect(log.missing(guest.machine.queues, packed)).toEqual([]);
      expect(daemon.complaints()).toEqual([]);
    }, 60_000);

    test("what the guest sends while it is stopped goes out once it goes on", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, ringSize: 64, ...SHOWN });
      await passFrames(guest, { frames: 100 });
      for (let round = 1; round <= 5; round++) {
        await guest.pause();
        const traffic = exchange(guest, { frames: 200, from: 1000 * round });
        await Bun.sleep(20);
        await guest.resume();
        expect(trafficProblem(await traffic)).toBeUndefined();
      }
      expectQuiet(daemon);
    }, 60_000);

    test("a front-end that comes back goes on where it was", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { packed, ...SHOWN });
      await passFrames(guest, { frames: 300 });
      const bases: number[] = [];
      for (const { index } of guest.machine.queues) bases.push(await guest.fe.getVringBase(index));
      guest.fe.close();
      await daemon.logged(/disconnected|closed|left|gone/);
      await guest.reconnect(await Channel.connect(daemon.socketPath));
      await guest.resume(bases);
      await passFrames(guest, { frames: 300, from: 1000 });
      expectQuiet(daemon);
    }, 60_000);

    test("memory is added and removed while rings are relayed", async () => {
      const daemon = await start({ args: ["--datapath", "relay"] });
      const guest = await guestOf(daemon, { packed, eventIdx: true });
      const plan = { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" };
      let done = false;
      const traffic = exchange(guest, { until: () => done });
      for (let i = 0; i < 20; i++) {
        const [region] = createRegions([plan]);
        await guest.fe.addMemReg(region!.description, region!.fd);
        await Bun.sleep(2);
        await guest.fe.remMemReg(region!.description);
        region!.close();
      }
      done = true;
      expect(trafficProblem(await traffic)).toBeUndefined();
      expectQuiet(daemon);
    }, 60_000);

    test("pairs and eventfds change while rings are relayed", async () => {
      const daemon = await start({ args: ["--datapath", "relay"] });
      const guest = await guestOf(daemon, { packed, pairs: 4, enabledPairs: 1 });
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
      await guest.setPairEnabled(3, false);
      await passFrames(guest, { frames: 200, pairs: [0, 1, 2], from: 10_000_000 });
      expectQuiet(daemon);
    }, 60_000);
  });
}

describe("--datapath relay: every frame comes back exactly once, on its pair, unchanged", () => {
  for (const packed of [false, true]) {
    for (const eventIdx of [false, true]) {
      for (const indirect of [false, true]) {
        for (const ringSize of packed ? [8, 100, 256] : [8, 256]) {
          const traits = [packed ? "packed" : "split", `${ringSize} entries`];
          if (eventIdx) traits.push("event idx");
          if (indirect) traits.push("indirect");
          test(traits.join(", "), async () => {
            const daemon = await start({ args: ["--datapath", "relay"] });
            for (const pairs of [1, 8]) {
              await wellBehaved(daemon, { packed, pairs, eventIdx, indirect, ringSize }, 400);
            }
            expectQuiet(daemon);
            expect(daemon.log.some((line) => / direct doorbell/.test(line))).toBe(false);
          }, 60_000);
        }
      }
    }
  }

  test("positions wrap: more frames than a split ring's index counts", async () => {
    const daemon = await start({ args: ["--datapath", "relay"] });
    await wellBehaved(daemon, { pairs: 1 }, 70_000);
    expectQuiet(daemon);
  }, 120_000);

  test("a ring with nonsense in it stops, is reported once, and the others go on", async () => {
    const daemon = await start({ args: ["--datapath", "relay"] });
    const guest = await guestOf(daemon);
    await passFrames(guest, { frames: 100 });
    const { tx } = guest.pairs[1]!;
    tx.ring.avail.u16[1] = 5000;
    tx.signal();
    await daemon.logged(/queue 3 stops after a fault of the guest's in its ring/);
    tx.signal();
    await passFrames(guest, { frames: 100, pairs: [0], from: 1000 });
    expect(daemon.log.filter((line) => /^error/.test(line))).toHaveLength(1);
  }, 60_000);
});
