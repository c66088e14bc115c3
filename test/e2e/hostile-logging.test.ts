import { expect } from "bun:test";
import { memfd } from "../../src/hw/ffi/fd.ts";
import { libc } from "../../src/hw/ffi/libc.ts";
import type { Guest, GuestOptions } from "../support/front-end/guest.ts";
import { LOG_BYTES, PageLog } from "../support/front-end/page-log.ts";
import { Feature, Request, vringAddr, words } from "../support/front-end/protocol.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { oddFd } from "./support/odd-fds.ts";
import { complaints } from "./support/ring-fault.ts";
import { passFrames } from "./support/well-behaved.ts";

const { SET_LOG_BASE, SET_VRING_ADDR, SET_FEATURES, SET_STATUS } = Request;
const U64 = 1n << 64n;
const VRING_F_LOG = 1;
const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;

/** Items 24 to 29 while the rings are relayed and logged, with frames under way. */
for (const datapath of ["relay", "auto"]) {
  const stage = new HostileStage({ args: ["--datapath", datapath] });
  const logs: PageLog[] = [];
  const newLog = (offset = 0) => {
    const log = new PageLog(offset);
    logs.push(log);
    return log;
  };

  for (const packed of [false, true]) {
    const layouts: GuestOptions =
      packed && datapath === "auto" ? { layouts: ["single", "indirect"], indirect: true } : {};
    const item = (number: number, what: string, body: () => Promise<void>) =>
      stage.item(number, `--datapath ${datapath}, ${packed ? "packed" : "split"}: ${what}`, async () => {
        try {
          await body();
        } finally {
          for (const log of logs.splice(0)) log.close();
        }
      });

    /** A guest with traffic behind it whose rings are all relayed and logged. */
    const migrating = async (log = newLog(), bytes?: bigint): Promise<Guest> => {
      const guest = await stage.guest({ pairs: 2, packed, ...layouts });
      await passFrames(guest, { frames: 50 });
      await guest.setLogging(log, bytes);
      await passFrames(guest, { frames: 300, from: 1000 });
      return guest;
    };

    /** Keeps frames flowing while `body` works, and checks them all. */
    const under = async (guest: Guest, from: number, body: () => Promise<void>) => {
      let done = false;
      const traffic = passFrames(guest, { from, until: () => done });
      try {
        await body();
      } finally {
        done = true;
        await traffic;
      }
    };

    const log = () => stage.fd(memfd("guest-log", 65536));
    const BAD: readonly [number, string, RegExp, () => [payload: Uint8Array, fds: number[]]][] = [
      [24, "no fd", /0 file descriptors/, () => [words(65536n, 0n), []]],
      [24, "two fds", /2 file descriptors/, () => [words(65536n, 0n), [log(), log()]]],
      [24, "offset + size overflow", /offset \+ size overflow/, () => [words(65536n, U64 - 4096n), [log()]]],
      [25, "an unaligned offset", /not a multiple of 4096/, () => [words(4096n, 2048n), [log()]]],
      [26, "size 0", /its size is 0/, () => [words(0n, 0n), [log()]]],
      [26, "a log larger than its file", /beyond the end of its file/, () => [words(65537n, 0n), [log()]]],
      [26, "an offset behind its file", /beyond the end of its file/, () => [words(8n, 65536n), [log()]]],
      [26, "a directory", /no memory file/, () => [words(8n, 0n), [stage.fd(oddFd.directory())]]],
      [
        26,
        "a file that is open to read only",
        /not open read-write/,
        () => [words(8n, 0n), [stage.fd(oddFd.readOnly())]],
      ],
    ];
    for (const [number, what, reason, make] of BAD) {
      item(number, `${what} instead of the log in use`, async () => {
        const guest = await migrating();
        const mark = stage.daemon.log.length;
        // Its reply has no form for an error.
        await guest.fe.post(SET_LOG_BASE, ...make());
        await guest.fe.channel.closed();
        await stage.daemon.logged(/front-end disconnected/, mark);
        expect(complaints(stage, mark)).toEqual([expect.stringMatching(reason)]);
      });
    }

    item(25, "a log in the middle of its file", async () => {
      const pages = newLog(3 * 4096);
      const guest = await migrating(pages);
      await under(guest, 1_000_000, async () => {
        for (let i = 0; i < 50; i++) await guest.fe.barrier();
      });
      await passFrames(guest, { frames: 1000, from: 10_000_000 });
      await guest.pause();
      expect(pages.missing(guest.machine.queues, packed)).toEqual([]);
      expect(pages.spilled()).toBe(false);
    });

    for (const bytes of [1n, 8n, 4095n]) {
      item(26, `a log of ${bytes} bytes, which ends before the guest's memory`, async () => {
        const pages = newLog();
        const mark = stage.daemon.log.length;
        const guest = await migrating(pages, bytes);
        await stage.daemon.logged(/dirty log of 0x[0-9a-f]+ bytes ends before the guest's last page/, mark);
        const refused = stage.daemon.log.length;
        await expectStopFails(guest);
        await stage.daemon.logged(
          new RegExp(
            `GET_VRING_BASE refused: ring 0: its dirty log is incomplete: page 0x[0-9a-f]+ could not be marked dirty: the log ends with page 0x${(8n * bytes - 1n).toString(16)} \\(\\d+ marks lost\\)`,
          ),
          refused,
        );
        expect(complaints(stage, refused)).toHaveLength(1);
        expect(pages.spilled(Number(bytes))).toBe(false);
      });
    }

    item(26, "a log whose file is truncated while it is in use", async () => {
      const pages = newLog();
      expect(libc.fcntl(pages.fd, F_ADD_SEALS, F_SEAL_SEAL)).toBe(0);
      const guest = await migrating(pages);
      expect(libc.ftruncate(pages.fd, 0)).toBe(0);
      await passFrames(guest, { frames: 300, from: 5000 });
      const mark = stage.daemon.log.length;
      await expectStopFails(guest);
      await stage.daemon.logged(
        /could not be marked dirty: the log's file was truncated \(\d+ marks lost\)/,
        mark,
      );
      expect(complaints(stage, mark)).toHaveLength(1);
    });

    item(27, "replaced again and again under traffic: the last one is complete", async () => {
      const guest = await migrating();
      const mark = stage.daemon.log.length;
      const before = stage.daemon.holdings();
      const used: PageLog[] = [];
      await under(guest, 1_000_000, async () => {
        for (let i = 0; i < 20; i++) {
          const next = newLog(4096 * (i % 3));
          used.push(next);
          const payload = words(BigInt(LOG_BYTES), BigInt(next.offset));
          const reply = await guest.fe.call(SET_LOG_BASE, payload, [next.fd]);
          expect([...reply.payload]).toEqual([...payload]);
        }
      });
      const last = used.at(-1)!;
      await passFrames(guest, { frames: 1000, from: 10_000_000 });
      const after = stage.daemon.holdings();
      expect(after.maps).toBeLessThanOrEqual(before.maps);
      expect(after.fds).toBeLessThanOrEqual(before.fds);
      await guest.pause();
      expect(last.missing(guest.machine.queues, packed)).toEqual([]);
      expect(complaints(stage, mark)).toEqual([]);
    });

    item(27, "a log that was too short for a moment: what it lacked still fails the stop", async () => {
      const guest = await migrating();
      const mark = stage.daemon.log.length;
      await guest.setLogging(newLog(), 8n);
      await passFrames(guest, { frames: 300, from: 5000 });
      await guest.setLogging(newLog());
      await passFrames(guest, { frames: 300, from: 6000 });
      await expectStopFails(guest);
      await stage.daemon.logged(
        /its dirty log is incomplete: .* the log ends with page 0x3f \(\d+ marks lost\)/,
        mark,
      );
    });

    item(27, "a log that was too short for a cancelled migration does not fail the next stop", async () => {
      const guest = await migrating(newLog(), 8n);
      await guest.setLogging(undefined);
      await passFrames(guest, { frames: 300, from: 5000 });
      await guest.pause();
      await guest.resume();
      await passFrames(guest, { frames: 300, from: 6000 });
    });

    item(28, "log address + ring length overflow, while it is logged", async () => {
      const guest = await migrating();
      const { ring, index } = guest.pairs[0]!.tx;
      const mark = stage.daemon.log.length;
      const address = {
        flags: VRING_F_LOG,
        descUva: ring.desc.uva,
        usedUva: ring.used.uva,
        availUva: ring.avail.uva,
        logGpa: U64 - 1n,
      };
      expect(await guest.fe.ack(SET_VRING_ADDR, vringAddr(index, address))).not.toBe(0n);
      await stage.daemon.logged(/its log address 0xffffffffffffffff \+ length overflows/, mark);
      expect(complaints(stage, mark)).toHaveLength(1);
      await passFrames(guest, { frames: 300, from: 5000 });
      await guest.pause();
    });

    item(28, "a log address beyond the log", async () => {
      const guest = await migrating();
      const { tx } = guest.pairs[0]!;
      await guest.fe.setVringAddr(tx.index, {
        flags: VRING_F_LOG,
        descUva: tx.ring.desc.uva,
        usedUva: tx.ring.used.uva,
        availUva: tx.ring.avail.uva,
        logGpa: BigInt(LOG_BYTES) * 8n * 4096n,
      });
      await passFrames(guest, { frames: 300, from: 5000 });
      // What a packed ring writes is logged at its own address, whatever this one says.
      if (packed) return void (await guest.pause());
      const mark = stage.daemon.log.length;
      await expectStopFails(guest);
      await stage.daemon.logged(/its dirty log is incomplete: page 0x800000 could not be marked/, mark);
    });

    item(29, "a log address outside of memory but inside the log is legal", async () => {
      const pages = newLog();
      const guest = await migrating(pages);
      const { tx } = guest.pairs[0]!;
      const far = 0x5_0000_0000n;
      await guest.fe.setVringAddr(tx.index, {
        flags: VRING_F_LOG,
        descUva: tx.ring.desc.uva,
        usedUva: tx.ring.used.uva,
        availUva: tx.ring.avail.uva,
        logGpa: far,
      });
      await passFrames(guest, { frames: 300, from: 5000 });
      await guest.pause();
      expect(pages.has(Number(far / 4096n))).toBe(!packed);
    });

    item(29, "LOG_ALL without a log, while the rings run and at the start", async () => {
      const running = await stage.guest({ packed, ...layouts });
      let mark = stage.daemon.log.length;
      const features = words(running.features | Feature.LOG_ALL);
      expect(await running.fe.ack(SET_FEATURES, features)).not.toBe(0n);
      await stage.daemon.logged(
        /SET_FEATURES refused: LOG_ALL without a log: SET_LOG_BASE must come before it/,
        mark,
      );
      expect(complaints(stage, mark)).toHaveLength(1);
      await passFrames(running, { frames: 200 });
      running.close();

      const guest = await stage.idleGuest({ packed, ...layouts });
      guest.features |= Feature.LOG_ALL;
      mark = stage.daemon.log.length;
      expect(await guest.start().catch((error: Error) => error.message)).toMatch(
        /SET_STATUS acknowledged with 1/,
      );
      await stage.daemon.logged(
        /LOG_ALL without a log: the device is to start and SET_LOG_BASE has not come/,
        mark,
      );
      expect(complaints(stage, mark)).toHaveLength(1);
      // With a log it starts, and is logged from its first frame on.
      const pages = newLog();
      await guest.fe.call(SET_LOG_BASE, words(BigInt(LOG_BYTES), 0n), [pages.fd]);
      await guest.fe.set(SET_STATUS, words(15n));
      for (const pair of guest.pairs) pair.refill();
      await passFrames(guest, { frames: 300 });
      expect(pages.count).toBeGreaterThan(0);
    });
  }
}

/** The stop of a ring whose log lacks pages: its reply has no form for an error, so the connection ends. */
async function expectStopFails(guest: Guest): Promise<void> {
  const outcome = await guest.fe.getVringBase(0).then(
    (base) => `base ${base}`,
    (error: Error) => error.name,
  );
  expect(outcome).toBe("PeerClosed");
}
