import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connectGuest, type GuestOptions } from "../support/front-end/guest.ts";
import { Protocol } from "../support/front-end/protocol.ts";
import { Daemon } from "./support/daemon.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

let daemon: Daemon;
beforeAll(async () => {
  daemon = await Daemon.start();
}, 60_000);
afterAll(async () => {
  expect(await daemon.stop()).toBe(0);
  await daemon.dispose();
}, 60_000);

const FRAMES = 400;

describe("every frame comes back exactly once, on its pair, unchanged", () => {
  for (const packed of [false, true]) {
    for (const pairs of [1, 2, 8]) {
      for (const eventIdx of [false, true]) {
        for (const indirect of [false, true]) {
          const traits = [packed ? "packed" : "split", `${pairs} pairs`];
          if (eventIdx) traits.push("event idx");
          if (indirect) traits.push("indirect");
          test(
            traits.join(", "),
            () => wellBehaved(daemon, { packed, pairs, eventIdx, indirect, ringSize: 64 }, FRAMES),
            60_000,
          );
        }
      }
    }
  }
});

describe("every kind of front-end", () => {
  const { STATUS, REPLY_ACK, CONFIGURE_MEM_SLOTS, RESET_DEVICE } = Protocol;
  const kinds: [string, GuestOptions][] = [
    ["QEMU", {}],
    ["QEMU without slots, with SET_MEM_TABLE", { without: CONFIGURE_MEM_SLOTS }],
    ["QEMU 7.2, without STATUS", { without: STATUS | CONFIGURE_MEM_SLOTS }],
    ["QEMU without REPLY_ACK", { without: REPLY_ACK }],
    ["QEMU with neither", { without: REPLY_ACK | STATUS | RESET_DEVICE }],
    ["DPDK", { like: "dpdk" }],
    ["DPDK without STATUS", { like: "dpdk", without: STATUS }],
    ["DPDK with neither", { like: "dpdk", without: STATUS | REPLY_ACK }],
  ];
  for (const [name, options] of kinds) {
    for (const packed of [false, true]) {
      test(
        `${name}, ${packed ? "packed" : "split"}`,
        () => wellBehaved(daemon, { ...options, packed, pairs: 2 }, FRAMES),
        60_000,
      );
    }
  }
});

describe("ring sizes", () => {
  for (const [packed, ringSize] of [
    [false, 8],
    [false, 256],
    [true, 8],
    [true, 100],
    [true, 256],
  ] as const) {
    test(
      `${packed ? "packed" : "split"}, ${ringSize} entries`,
      () => wellBehaved(daemon, { packed, ringSize, eventIdx: true, indirect: true }, FRAMES),
      60_000,
    );
  }

  test(
    "positions wrap: more frames than a split ring's index counts",
    () => wellBehaved(daemon, { pairs: 1, ringSize: 256 }, 70_000),
    120_000,
  );

  test("without merged receive buffers", () => wellBehaved(daemon, { mergeable: false }, FRAMES), 60_000);
});

test("interrupts and kicks are used, not polling", async () => {
  const guest = await connectGuest({ socketPath: daemon.socketPath, eventIdx: true });
  try {
    await passFrames(guest, { frames: 1000, window: 1 });
    const [rx, tx] = guest.pairs[0]!.queues;
    expect(tx.kicks).toBeGreaterThan(0);
    expect(guest.interrupts[rx.index] ?? 0).toBeGreaterThan(0);
  } finally {
    guest.close();
  }
}, 60_000);

test("memory of several GiB, sparse, with buffers at its end", async () => {
  const gib = 2 ** 30;
  const tail = 2 ** 23;
  const layout = [
    { gpa: 0n, uva: 0x7f00_0000_0000n, size: 3 * gib, tail, file: "big" },
    { gpa: 0x1_0000_0000n, uva: 0x7f01_0000_0000n, size: 5 * gib, tail, file: "big" },
  ];
  const guest = await connectGuest({ socketPath: daemon.socketPath, memory: layout });
  try {
    await passFrames(guest, { frames: FRAMES });
  } finally {
    guest.close();
  }
}, 60_000);
