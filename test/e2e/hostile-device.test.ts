import { expect, test } from "bun:test";
import type { FaultName } from "../../src/hw/sim/fault-switch.ts";
import { Daemon, run } from "./support/daemon.ts";
import { FaultyDevice, send } from "./support/faulty-device.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const LIMIT_MS = 120_000;
const RELAY = ["--datapath", "relay"];
const NEEDS_RESET = 0x40n;

for (const packed of [false, true]) {
  const layout = packed ? "packed" : "split";

  for (const [fault, reason] of [
    ["used-id", /chain 69 was used, which the device does not hold/],
    ["used-twice", packed ? /chain \d+ was used, which/ : /chain \d+ was used, which|with 1 chains in use/],
    ["used-jump", /the used index went from \d+ to \d+ with \d+ chains in use/],
  ] as const) {
    // A position that a packed ring's device leaves out can not be told from a device that takes its time.
    if (packed && fault === "used-jump") continue;
    test(
      `item 54: ${layout}: ${fault} stops the ring, and only that`,
      async () => {
        await using device = await FaultyDevice.start(fault, RELAY);
        const guest = await device.guest({ packed });
        await passFrames(guest, { frames: 30 });
        const before = guest.pairs[1]!.tx.ring.nextBase;
        await device.misbehave();
        send(guest, 1);
        await device.complains(/queue 3 stops after a fault of the device's in its ring/);
        await device.complains(/queue 2 stops after a fault of the device's in its ring/);
        await device.behave();
        expect(device.complaints).toEqual([expect.stringMatching(reason), expect.stringMatching(reason)]);
        await passFrames(guest, { frames: 100, pairs: [0], from: 1000 });
        expect(device.complaints).toHaveLength(2);
        // The first of two uses of a packed ring's chain can not be told from a right one.
        const { nextBase } = guest.pairs[1]!.tx.ring;
        expect(await guest.fe.getVringBase(3)).toBe(packed && fault === "used-twice" ? nextBase : before);
        await guest.stop();
        await guest.start();
        await passFrames(guest, { frames: 100, from: 2000 });
        guest.close();
        await device.recovers({ packed });
      },
      LIMIT_MS,
    );
  }

  test(
    `item 54: ${layout}: a used length beyond the buffer is cut to it and said once per ring`,
    async () => {
      await using device = await FaultyDevice.start("used-length", RELAY);
      const guest = await device.guest({ packed });
      await device.misbehave();
      for (let i = 0; i < 10; i++) send(guest, 1);
      await device.complains(/queue 2: the device reports more bytes than a buffer has/);
      await device.behave();
      // The driver throws for a length beyond its buffer; the frames themselves are no test frames.
      guest.pairs[1]!.receive(() => {});
      await passFrames(guest, { frames: 100, from: 1000 });
      expect(device.complaints.filter((line) => /queue 2/.test(line))).toHaveLength(1);
      await guest.stop();
      guest.close();
      await device.recovers({ packed });
    },
    LIMIT_MS,
  );

  for (const [fault, complaint] of [
    ["needs-reset", /sim needs a reset: it met an error it can not recover from/],
    ["queue-reset", /queue 0 can not be stopped alone: .*queue_reset.* did not complete/],
    ["control", /queue 2 can not be stopped alone: .*VQ_PAIRS_SET 1 did not complete/],
    ["gone", /the PCI function is reset instead/],
    ["reset", /the reset \(device_status\) did not complete.*; the PCI function is reset instead/],
  ] as const) {
    // Each of the others waits for the limit of the device's answer, which knows nothing of layouts.
    if (packed && fault !== "needs-reset") continue;
    test.concurrent(
      `item 54: ${layout}: ${fault}: the rings stop all the same, and tell where they were`,
      async () => {
        await using device = await FaultyDevice.start(fault, RELAY);
        const guest = await device.guest({ packed });
        await passFrames(guest, { frames: 30 });
        await device.misbehave();
        if (fault === "needs-reset") {
          await device.complains(complaint);
          expect((await guest.fe.getStatus()) & NEEDS_RESET).toBe(NEEDS_RESET);
        }
        const bases = await guest.stop();
        expect(bases).toHaveLength(4);
        if (!packed) expect([bases[1], bases[3]]).toEqual([30, 30]);
        await device.complains(complaint);
        expect(device.complaints.filter((line) => complaint.test(line))).toHaveLength(1);
        await device.behave();
        // The same connection again.
        await guest.start();
        await passFrames(guest, { frames: 100, from: 1000 });
        guest.close();
        await device.recovers({ packed });
      },
      LIMIT_MS,
    );
  }
}

test(
  "item 54: packed: a used position that is left out hangs the ring, and nothing else",
  async () => {
    await using device = await FaultyDevice.start("used-jump", RELAY);
    const guest = await device.guest({ packed: true });
    await device.misbehave();
    send(guest, 1);
    expect(await guest.fe.getVringBase(3)).toBe(0x8000_8000);
    await device.behave();
    await passFrames(guest, { frames: 100, pairs: [0], from: 1000 });
    expect(device.complaints).toEqual([]);
    guest.close();
    await device.recovers({ packed: true });
  },
  LIMIT_MS,
);

for (const [fault, refusal] of [
  ["features", /refuses the features/],
  ["control", /RX promisc on did not complete within 5 s/],
  ["generation", /config_generation\) did not complete/],
  ["gone", /no longer answers/],
  ["needs-reset", /does not start: its status is .*NEEDS_RESET|needs a reset/],
  ["no-queue", /queue 1|size|entries/],
] as const satisfies readonly (readonly [FaultName, RegExp])[]) {
  test.concurrent(
    `item 54: ${fault} at the start: the front-end is refused, and served once the device behaves`,
    async () => {
      await using device = await FaultyDevice.start(fault, RELAY);
      await device.misbehave();
      const outcome = await device.guest().then(
        (guest) => guest.close(),
        (error: Error) => error.name,
      );
      expect(["Refused", "PeerClosed"]).toContain(outcome as string);
      await device.complains(refusal);
      await device.behave();
      await device.recovers();
    },
    LIMIT_MS,
  );
}

test.concurrent(
  "item 54: a configuration that never settles, told by an interrupt, does not stop the traffic",
  async () => {
    await using device = await FaultyDevice.start("generation", RELAY);
    const guest = await device.guest();
    await device.misbehave();
    await device.complains(/config_generation\) did not complete/);
    await passFrames(guest, { frames: 100 });
    expect(device.complaints).toHaveLength(1);
    await device.behave();
    await guest.stop();
    guest.close();
    await device.recovers();
  },
  LIMIT_MS,
);

test(
  "item 54: asked back by the kernel: the front-end is let go, the device reset, and the program ends",
  async () => {
    await using device = await FaultyDevice.start("release", RELAY);
    const guest = await device.guest();
    await passFrames(guest, { frames: 30 });
    await device.misbehave();
    await guest.fe.channel.closed();
    guest.close();
    await device.complains(/was asked back by the kernel/);
    expect(await device.daemon.ended()).toBe(1);
    expect(device.daemon.socketExists).toBe(false);
  },
  LIMIT_MS,
);

for (const [fault, kind] of [
  ["few-vectors", /vector 2 is shared and relayed/],
  ["doorbell", /the kernel does not ring this doorbell/],
] as const) {
  test(
    `item 54: ${fault}: everything works, and the log says how`,
    async () => {
      for (const datapath of ["auto", "relay"]) {
        const daemon = await Daemon.start({ args: ["--sim-fault", fault, "--datapath", datapath] });
        try {
          for (const packed of [false, true]) await wellBehaved(daemon, { packed, pairs: 4 });
          if (datapath === "auto" || fault === "few-vectors") await daemon.logged(kind);
          expect(await daemon.stop()).toBe(0);
        } finally {
          await daemon.dispose();
        }
      }
    },
    LIMIT_MS,
  );
}

test(
  "item 54: capabilities in a circle are walked once",
  async () => {
    const daemon = await Daemon.start({ args: ["--sim-fault", "capability-loop"] });
    try {
      await wellBehaved(daemon);
      expect(await daemon.stop()).toBe(0);
    } finally {
      await daemon.dispose();
    }
  },
  LIMIT_MS,
);

for (const [fault, code, reason] of [
  ["gone", 3, /no longer answers/],
  ["generation", 1, /config_generation\) did not complete/],
  ["no-vectors", 3, /can not interrupt\n {2}why: it has no MSI-X vectors\n {2}try: .*vectors=/],
] as const) {
  test.concurrent(
    `item 54: ${fault} before anybody is served: the program says so and ends`,
    async () => {
      const socket = `/tmp/vdpactl-never-${process.pid}.sock`;
      const { code: got, err } = await run(["serve", "--sim", "--sim-fault", fault, "--socket", socket]);
      expect(err).toMatch(reason);
      expect(got).toBe(code);
    },
    LIMIT_MS,
  );
}

test("the names of faults are checked", async () => {
  const { code, err } = await run(["serve", "--sim", "--sim-fault", "used-ids", "--socket", "/nowhere/s"]);
  expect([code, err]).toEqual([2, expect.stringMatching(/used-twice.*\n.*write used-id/)]);
  const without = await run(["serve", "--pci", "00:04.0", "--sim-fault", "gone", "--socket", "/nowhere/s"]);
  expect([without.code, without.err]).toEqual([2, expect.stringContaining("--sim-fault without --sim")]);
});
