import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { OperatorError } from "../../../src/hw/operator-error.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import * as F from "../../../src/hw/virtio/features.ts";
import { ServedSim } from "../../support/daemon/served-sim.ts";
import { Channel } from "../../support/front-end/channel.ts";
import { FrontEnd } from "../../support/front-end/front-end.ts";
import { connectGuest, type Guest, type GuestOptions } from "../../support/front-end/guest.ts";
import { createRegions } from "../../support/front-end/guest-memory.ts";
import { PageLog } from "../../support/front-end/page-log.ts";
import { exchange, trafficProblem } from "../../support/front-end/traffic.ts";

setDefaultTimeout(120_000);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function start(...options: Parameters<typeof ServedSim.start>): Promise<ServedSim> {
  const served = await ServedSim.start(...options);
  cleanup.push(() => served.stop());
  return served;
}

async function guestOf(served: ServedSim, options: GuestOptions = {}): Promise<Guest> {
  const guest = await connectGuest({ socketPath: served.socketPath, pairs: 2, ...options });
  cleanup.push(() => guest.close());
  return guest;
}

async function pass(guest: Guest, from: number, frames = 300): Promise<void> {
  expect(trafficProblem(await exchange(guest, { frames, from }))).toBeUndefined();
}

/** Frames flow while `body` works. What is on the wire at a device's reset is lost, and nothing comes twice or wrong. */
async function during(guest: Guest, from: number, body: () => Promise<void>): Promise<void> {
  let done = false;
  const traffic = exchange(guest, { from, until: () => done, lossy: true });
  try {
    await body();
  } finally {
    done = true;
  }
  for (const { duplicates, wrong } of await traffic)
    expect({ duplicates, wrong }).toEqual({ duplicates: 0, wrong: [] });
}

/** A packed ring in the middle of traffic does not always show where it is; the guest runs on then. */
async function whenItShows<T>(move: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await move();
    } catch (error) {
      if (tries === 50 || !/can not be relayed from where it is/.test(String(error))) throw error;
    }
  }
}

async function refusal(move: Promise<unknown>): Promise<OperatorError> {
  const error = await move.then(
    () => undefined,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(OperatorError);
  return error;
}

const bit = (n: number) => 1n << BigInt(n);

for (const packed of [false, true]) {
  const layouts: GuestOptions = packed ? { packed, layouts: ["single", "indirect"], indirect: true } : {};
  describe(packed ? "packed" : "split", () => {
    for (const [datapath, relayThreads] of [
      ["auto", 0],
      ["relay", 0],
      ["relay", 2],
    ] as const) {
      const how = `--datapath ${datapath}${relayThreads > 0 ? ` --relay-threads ${relayThreads}` : ""}`;
      test(`a guest with two pairs, again and again, ${how}`, async () => {
        const served = await start({}, datapath, relayThreads);
        const guest = await guestOf(served, { eventIdx: true, ...layouts });
        for (let i = 0; i < 3; i++) {
          await during(guest, 1_000_000 * i, async () => {
            const result = await whenItShows(() => served.move(`sim ${i}`));
            expect(result).toMatchObject({ from: i === 0 ? "one" : `sim ${i - 1}`, to: `sim ${i}` });
            expect(result.queues.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
            expect(result.gap_us).toBeGreaterThan(0);
          });
          await pass(guest, 1_000_000 * i + 500_000);
        }
      });
    }

    test("held in the relay and let go, again and again", async () => {
      const served = await start();
      const guest = await guestOf(served, { eventIdx: true, ...layouts });
      for (let i = 0; i < 6; i++) {
        let done = false;
        const traffic = exchange(guest, { from: 1_000_000 * i, until: () => done });
        try {
          await whenItShows(() => served.hold(true));
        } finally {
          done = true;
        }
        expect(trafficProblem(await traffic)).toBeUndefined();
        await served.hold(false);
        // Packed rings go back to the device every second lap.
        await pass(guest, 1_000_000 * i + 500_000, packed ? 1200 : 300);
      }
    });

    test("a log that is on stays complete", async () => {
      const served = await start();
      const guest = await guestOf(served, layouts);
      const log = new PageLog();
      cleanup.push(() => log.close());
      await pass(guest, 0);
      await guest.setLogging(log);
      await served.move("two");
      await pass(guest, 10_000, 2000);
      expect(log.missing(guest.machine.queues, packed)).toEqual([]);
      await guest.setLogging(undefined);
      log.clear();
      await pass(guest, 20_000, 500);
      expect(log.count).toBe(0);
    });

    test("the front-end goes on as it likes: memory, eventfds, pairs, stop and cont, log", async () => {
      const served = await start();
      const guest = await guestOf(served, { ...layouts, enabledPairs: 1 });
      await served.move("two");
      const [region] = createRegions([
        { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" },
      ]);
      await guest.fe.addMemReg(region!.description, region!.fd);
      await pass(guest, 0);
      await guest.fe.remMemReg(region!.description);
      region!.close();
      for (const queue of guest.machine.queues) {
        await guest.replaceKick(queue);
        await guest.replaceCall(queue);
      }
      await guest.setPairEnabled(1, true);
      expect(
        trafficProblem(await exchange(guest, { frames: 300, from: 1000, pairs: [0, 1] })),
      ).toBeUndefined();
      await guest.pause();
      await served.move("three");
      await guest.resume();
      await pass(guest, 10_000);
    });
  });
}

test("memory that changes while the guest is being moved: one or the other comes first, both are right", async () => {
  const served = await start();
  const guest = await guestOf(served);
  for (let i = 0; i < 5; i++) {
    const moved = served
      .move(`sim ${i}`)
      .catch((error: OperatorError) => expect(error.message).toMatch(/its memory changed/));
    const [region] = createRegions([
      { gpa: 0x10_0000_0000n, uva: 0x7d00_0000_0000n, size: 1 << 21, file: "hotplug" },
    ]);
    await guest.fe.addMemReg(region!.description, region!.fd);
    await moved;
    await pass(guest, 1000 * i);
    await guest.fe.remMemReg(region!.description);
    region!.close();
  }
});

test("a front-end that leaves while its guest is being moved; the next one finds a device that works", async () => {
  const served = await start();
  for (let i = 0; i < 5; i++) {
    const guest = await guestOf(served);
    const moved = served
      .move(`sim ${i}`)
      .catch((error: OperatorError) => expect(error.message).toMatch(/its front-end left/));
    guest.close();
    await moved;
  }
  await pass(await guestOf(served), 0);
});

test("a later front-end meets the new device: its features, its pairs, its sizes", async () => {
  const served = await start({ pairs: 1, withhold: bit(F.VIRTIO_F_RING_PACKED) });
  await pass(await guestOf(served, { pairs: 1 }), 0).then(() => cleanup.pop()?.());
  await served.move("two", { pairs: 4 });
  const guest = await guestOf(served, { packed: true, pairs: 4 });
  expect(await guest.fe.getQueueNum()).toBe(4n);
  await pass(guest, 0);
});

test("what the other device lacks is listed, and the guest goes on where it is", async () => {
  const served = await start();
  const guest = await guestOf(served, { packed: true, indirect: true, layouts: ["single", "indirect"] });
  await pass(guest, 0);
  const poor: SimOptions = {
    pairs: 1,
    queueSize: 128,
    mtu: 1000,
    withhold: bit(F.VIRTIO_F_RING_PACKED) | bit(F.VIRTIO_F_RING_RESET),
  };
  const error = await refusal(served.move("poor", poor));
  expect(error.kind).toBe("migration");
  expect(error.message).toBe(
    "the guest can not move to poor: it does not offer MQ, RING_PACKED; " +
      "it can not carry the protocol feature RARP; it has 2 queues instead of 16; " +
      "queue 0: the size 256 is above the device's maximum of 128; " +
      "queue 1: the size 256 is above the device's maximum of 128; its MTU is at most 1000, not 1500",
  );
  await pass(guest, 1000);
  expect(await served.move("rich")).toMatchObject({ from: "one", to: "rich" });
  await pass(guest, 2000);
});

test("before the driver has chosen, all that was offered is asked for", async () => {
  const served = await start();
  const fe = new FrontEnd(await Channel.connect(served.socketPath));
  cleanup.push(() => fe.close());
  await fe.getFeatures();
  const error = await refusal(served.move("poor", { withhold: bit(F.VIRTIO_NET_F_MRG_RXBUF) }));
  expect(error.message).toBe("the guest can not move to poor: it does not offer MRG_RXBUF");
  expect(await served.move("rich")).toMatchObject({ to: "rich", queues: [] });
  expect(await fe.getFeatures()).not.toBe(0n);
});

test("a new device that fails at the switch: the guest goes on on the old one", async () => {
  const served = await start();
  const guest = await guestOf(served);
  for (const faults of [{ refuseFeatures: true }, { missingQueue: 3 }]) {
    const error = await refusal(served.move("broken", { faults }));
    expect(error.message).toMatch(/queue 3|could not be moved to broken.*it stays on one/s);
    await pass(guest, 1000 * Object.keys(faults)[0]!.length);
  }
  await served.move("whole");
  await pass(guest, 1_000_000);
});

test("a service that is told to end while a guest moves ends", async () => {
  const served = await start();
  await guestOf(served);
  const moved = served.move("two").then(
    ({ to }) => to,
    (error: OperatorError) => error.message,
  );
  served.interrupt();
  // Either came first.
  expect(await moved).toMatch(/^two$|: the service ends$/);
});

test("what is held stays held", async () => {
  const served = await start();
  const guest = await guestOf(served);
  await pass(guest, 0);
  await served.hold(true);
  const { queues } = await served.move("two");
  expect(queues.map(({ mode }) => mode)).toEqual(["relay", "relay", "relay", "relay"]);
  await served.hold(false);
  await pass(guest, 1000);
});
