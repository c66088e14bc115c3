import { expect } from "bun:test";
import { createEventfd } from "../../src/hw/ffi/eventfd.ts";
import type { Guest } from "../support/front-end/guest.ts";
import { NO_FD, Request, type VringAddresses, vringAddr, words } from "../support/front-end/protocol.ts";
import { startRing } from "../support/front-end/sequences.ts";
import { exchange } from "../support/front-end/traffic.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { passFrames } from "./support/well-behaved.ts";

const stage = new HostileStage();
const { SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_ENABLE, GET_VRING_BASE } = Request;

for (const index of [16, 17, 255, 65536, 0xffff_ffff]) {
  stage.item(30, `ring index ${index}`, async () => {
    const log = new RegExp(`\\b${index}\\b|index|0x${index.toString(16)}`);
    for (const [request, payload] of [
      [SET_VRING_NUM, words(index, 256)],
      [SET_VRING_BASE, words(index, 0)],
      [SET_VRING_ENABLE, words(index, 1)],
      [SET_VRING_ADDR, vringAddr(index, { descUva: 0n, usedUva: 0n, availUva: 0n })],
    ] as const) {
      await stage.refuses({ request, payload, log });
    }
    await stage.refuses({ request: GET_VRING_BASE, payload: words(index, 0), log, mayClose: true });
  });
}
for (const value of [16n, 255n, 0x200n, 1n << 32n, (1n << 63n) | 1n]) {
  for (const [name, request] of [
    ["KICK", Request.SET_VRING_KICK],
    ["CALL", Request.SET_VRING_CALL],
    ["ERR", Request.SET_VRING_ERR],
  ] as const) {
    stage.item(30, `SET_VRING_${name} of 0x${value.toString(16)}`, async () => {
      const fd = stage.fd(createEventfd());
      await stage.refuses({ request, payload: words(value), fds: [fd], log: /ring|index|0x/ });
      await stage.refuses({ request, payload: words(value | NO_FD), log: /ring|index|0x/ });
    });
  }
}

/** Entries of a ring of the simulated device. */
const SIM_RING = 1024;
for (const size of [0, SIM_RING + 1, 2 * SIM_RING, 65536, 0xffff_ffff]) {
  stage.item(31, `a ring of ${size} entries`, () =>
    stage.refuses({ request: SET_VRING_NUM, payload: words(0, size), log: /size|entries/ }),
  );
}
for (const size of [3, 24, 255]) {
  stage.item(31, `a split ring of ${size} entries is refused when it is set or when it starts`, () =>
    stage.fails(/power of two/, async () => {
      const guest = await stage.idleGuest();
      guest.pairs[0]!.tx.announcedSize = size;
      await guest.start();
    }),
  );
}
stage.item(31, "the size of a running ring does not change", async () => {
  const guest = await stage.guest();
  const mark = stage.daemon.log.length;
  expect(await guest.fe.ack(SET_VRING_NUM, words(0, 128))).not.toBe(0n);
  await stage.daemon.logged(/run/, mark);
  await stage.passFrames(guest);
});

type Change = (guest: Guest) => Partial<VringAddresses>;
const ring = (guest: Guest) => guest.pairs[0]!.tx.ring;
const lastByteOf = (guest: Guest) => {
  const { uva, size } = guest.regions[0]!.description;
  return uva + size;
};
const WRONG_ADDRESSES: [string, RegExp, Change][] = [
  ["in no region", /no memory region|UVA/, () => ({ descUva: 0x1234_5000n })],
  ["all zero", /no memory region|UVA/, () => ({ descUva: 0n, usedUva: 0n, availUva: 0n })],
  [
    "with a descriptor table across a region's end",
    /end|region/,
    (g) => ({ descUva: lastByteOf(g) - 4080n }),
  ],
  ["with a used ring across a region's end", /end|region/, (g) => ({ usedUva: lastByteOf(g) - 16n })],
  ["with a misaligned descriptor table", /aligned/, (g) => ({ descUva: ring(g).desc.uva + 8n })],
  ["with a misaligned available ring", /aligned/, (g) => ({ availUva: ring(g).avail.uva + 1n })],
  ["with a misaligned used ring", /aligned/, (g) => ({ usedUva: ring(g).used.uva + 2n })],
  ["with its parts on each other", /overlap/, (g) => ({ usedUva: ring(g).desc.uva })],
  ["at the top of the address space", /region|UVA|wrap/, () => ({ usedUva: (1n << 64n) - 4n })],
];
for (const [what, log, change] of WRONG_ADDRESSES) {
  stage.item(32, `a ring ${what}`, () =>
    stage.fails(log, async () => {
      const guest = await stage.idleGuest();
      guest.machine.bend = (index, addresses) =>
        index === 1 ? { ...addresses, ...change(guest) } : addresses;
      await guest.start();
    }),
  );
}

stage.item(33, "addresses before memory are refused, and the guest can start", async () => {
  const guest = await stage.idleGuest();
  const { desc, avail, used } = ring(guest);
  await guest.fe.setVringNum(1, 256);
  const mark = stage.daemon.log.length;
  const addresses = vringAddr(1, { descUva: desc.uva, availUva: avail.uva, usedUva: used.uva });
  expect(await guest.fe.ack(SET_VRING_ADDR, addresses)).not.toBe(0n);
  await stage.daemon.logged(/ring 1: its addresses come before any memory table/, mark);
  await guest.start();
  await stage.passFrames(guest);
});
stage.item(33, "the addresses of a running ring, again: nothing happens", async () => {
  const guest = await stage.guest();
  const { desc, avail, used } = ring(guest);
  await guest.fe.setVringAddr(1, { descUva: desc.uva, availUva: avail.uva, usedUva: used.uva });
  await stage.passFrames(guest);
});
stage.item(33, "other addresses for a running ring are refused", async () => {
  const guest = await stage.guest();
  const { desc, avail } = ring(guest);
  const other = guest.pairs[0]!.rx.ring.used.uva;
  const mark = stage.daemon.log.length;
  const moved = vringAddr(1, { descUva: desc.uva, availUva: avail.uva, usedUva: other });
  expect(await guest.fe.ack(SET_VRING_ADDR, moved)).not.toBe(0n);
  await stage.daemon.logged(/run/, mark);
  await stage.passFrames(guest);
});

stage.item(34, "GET_VRING_BASE of a ring that was never started, twice", async () => {
  const fe = await stage.negotiated();
  expect(await fe.getVringBase(0)).toBe(0);
  expect(await fe.getVringBase(0)).toBe(0);
  expect(await fe.getVringBase(15)).toBe(0);
});
for (const packed of [false, true]) {
  stage.item(
    34,
    `GET_VRING_BASE twice after traffic gives the same position (${packed ? "packed" : "split"})`,
    async () => {
      const guest = await stage.guest({ packed });
      await passFrames(guest, { frames: 100 });
      const base = await guest.fe.getVringBase(1);
      expect(await guest.fe.getVringBase(1)).toBe(base);
      if (!packed) expect(base).toBe(100);
    },
  );
}

const PACKED_BASES: [string, RegExp, number[]][] = [
  ["beyond the ring", /is beyond a packed ring of 256/, [0x7fff_ffff, 0x8200_8200, 0x8100_8100]],
  [
    "whose available position is behind the used one, or more than the ring ahead of it",
    /more than 256 entries apart/,
    [0x8005_8003, 0x0005_0003, 0x8003_0005, 0x0003_8005],
  ],
];
for (const [what, log, bases] of PACKED_BASES) {
  stage.item(35, `a packed base ${what}`, async () => {
    for (const base of bases) {
      await stage.fails(log, async () => {
        const guest = await stage.idleGuest({ packed: true, base });
        try {
          await guest.start();
        } finally {
          guest.close();
        }
      });
    }
  });
}
stage.item(35, "a split base of more than 16 bits", () =>
  stage.fails(/base|index/, async () => (await stage.idleGuest({ base: 0x10000 })).start()),
);
stage.item(35, "an available index further ahead than the ring is long", async () => {
  const guest = await stage.idleGuest();
  const { tx } = guest.pairs[0]!;
  tx.ring.avail.u16[1] = 5000;
  const mark = stage.daemon.log.length;
  await guest.start();
  tx.signal();
  await stage.daemon.logged(/fault|NEEDS_RESET|reset|index/i, mark);
  await guest.fe.barrier();
});

stage.item(36, "enable before anything else", async () => {
  const guest = await stage.idleGuest({ pairs: 8 });
  for (let index = 0; index < 16; index++) await guest.fe.setVringEnable(index, true);
  await guest.start();
  await passFrames(guest, { frames: 100 });
});
stage.item(36, "only one ring of a pair", async () => {
  const guest = await stage.guest({ pairs: 2, enabledPairs: 1 });
  await guest.fe.setVringEnable(2, true);
  await passFrames(guest, { frames: 100, pairs: [0] });
  await guest.fe.setVringEnable(2, false);
  await guest.fe.setVringEnable(3, true);
  await passFrames(guest, { frames: 100, from: 100, pairs: [0] });
});
stage.item(36, "neither 0 nor 1", () =>
  stage.refuses({ request: SET_VRING_ENABLE, payload: words(0, 2), log: /enable|SET_VRING_ENABLE/i }),
);
stage.item(36, "toggled in a storm while frames flow elsewhere", async () => {
  const guest = await stage.guest({ pairs: 4 });
  let done = false;
  const flow = exchange(guest, { pairs: [0], until: () => done });
  for (let i = 0; i < 500; i++) {
    for (const pair of [3, 2, 1]) await guest.setPairEnabled(pair, i % 2 === 1);
    guest.fe.history.length = 0;
  }
  done = true;
  const [report] = await flow;
  expect(report).toMatchObject({ duplicates: 0, wrong: [], returned: report!.sent });
  await passFrames(guest, { frames: 100, from: 10_000_000 });
});
stage.item(36, "a ring started and stopped in a storm", async () => {
  const guest = await stage.guest({ pairs: 2 });
  for (let i = 0; i < 200; i++) {
    for (const queue of guest.pairs[1]!.queues) {
      await guest.fe.getVringBase(queue.index);
      queue.reset();
      await startRing(guest.fe, queue);
    }
  }
  guest.pairs[1]!.refill();
  await passFrames(guest, { frames: 100 });
});
