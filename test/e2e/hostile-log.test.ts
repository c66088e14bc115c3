import { expect } from "bun:test";
import { memfd } from "../../src/hw/ffi/fd.ts";
import { Feature, Request, vringAddr, words } from "../support/front-end/protocol.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { oddFd } from "./support/odd-fds.ts";

const stage = new HostileStage();
const { SET_LOG_BASE, SET_VRING_ADDR, SET_FEATURES } = Request;
const U64 = 1n << 64n;
const VRING_F_LOG = 1;

const log = (size = 65536) => stage.fd(memfd("guest-log", size));

/** SET_LOG_BASE has a reply of its own that can not carry an error, so a refusal is a disconnect. */
async function refusesLog(reason: RegExp, payload: Uint8Array, fds: number[]): Promise<void> {
  const fe = await stage.negotiated();
  const mark = stage.daemon.log.length;
  await fe.post(SET_LOG_BASE, payload, fds);
  await fe.channel.closed();
  await stage.daemon.logged(reason, mark);
  fe.close();
}

stage.item(24, "no fd", () => refusesLog(/fd|descriptor/, words(65536n, 0n), []));
stage.item(24, "two fds", () => refusesLog(/fd|descriptor/, words(65536n, 0n), [log(), log()]));
stage.item(24, "offset + size overflow", async () => {
  await refusesLog(/overflow|beyond/, words(65536n, U64 - 4096n), [log()]);
  await refusesLog(/overflow|beyond/, words(U64 - 4096n, 4096n), [log()]);
});

stage.item(25, "an offset that is not 0 is taken", async () => {
  const fe = await stage.negotiated();
  const payload = words(4096n, 8192n);
  const reply = await fe.call(SET_LOG_BASE, payload, [log()]);
  // Whoever checks the reply wants the request's payload back.
  expect([...reply.payload]).toEqual([...payload]);
});
stage.item(25, "an unaligned offset", () => refusesLog(/multiple|aligned/, words(4096n, 123n), [log()]));

stage.item(26, "size 0", () => refusesLog(/size is 0/, words(0n, 0n), [log()]));
stage.item(26, "larger than its file", () => refusesLog(/beyond/, words(131072n, 0n), [log()]));
stage.item(26, "an fd that is no memory", async () => {
  for (const fd of [oddFd.directory(), oddFd.socket(), oddFd.readOnly()])
    await refusesLog(/log/, words(4096n, 0n), [stage.fd(fd)]);
});
stage.item(26, "smaller than guest memory: taken with a warning, and not written beyond", async () => {
  const guest = await stage.guest();
  const mark = stage.daemon.log.length;
  const payload = words(8n, 0n);
  const reply = await guest.fe.call(SET_LOG_BASE, payload, [log(4096)]);
  expect([...reply.payload]).toEqual([...payload]);
  await stage.daemon.logged(/ends before the guest's last page/, mark);
  await stage.passFrames(guest);
});

stage.item(27, "replaced a hundred times while rings run", async () => {
  const guest = await stage.guest();
  const before = stage.daemon.holdings();
  for (let i = 1; i <= 100; i++) {
    const size = BigInt(4096 * (1 + (i % 16)));
    const payload = words(size, 0n);
    const reply = await guest.fe.call(SET_LOG_BASE, payload, [log()]);
    expect([...reply.payload]).toEqual([...payload]);
  }
  const after = stage.daemon.holdings();
  expect(after.maps).toBeLessThanOrEqual(before.maps + 1);
  expect(after.fds).toBeLessThanOrEqual(before.fds + 1);
  await stage.passFrames(guest);
});

stage.item(28, "log address + ring length overflow", async () => {
  const guest = await stage.guest();
  const { ring, index } = guest.pairs[0]!.tx;
  const bad = {
    flags: VRING_F_LOG,
    descUva: ring.desc.uva,
    usedUva: ring.used.uva,
    availUva: ring.avail.uva,
    logGpa: U64 - 16n,
  };
  const mark = stage.daemon.log.length;
  expect(await guest.fe.ack(SET_VRING_ADDR, vringAddr(index, bad))).not.toBe(0n);
  await stage.daemon.logged(/log/, mark);
  await stage.passFrames(guest);
});

stage.item(29, "LOG_ALL without a log", async () => {
  const guest = await stage.guest();
  const mark = stage.daemon.log.length;
  expect(await guest.fe.ack(SET_FEATURES, words(guest.features | Feature.LOG_ALL))).not.toBe(0n);
  await stage.daemon.logged(/LOG_ALL without a log/, mark);
  await stage.passFrames(guest);
});
stage.item(29, "a log address outside of guest memory but inside the log is legal", async () => {
  const guest = await stage.guest();
  const [, tx] = guest.pairs[0]!.queues;
  // One bit per page: 2 MiB of log cover 64 GiB.
  await guest.fe.call(SET_LOG_BASE, words(2n << 20n, 0n), [log(2 << 20)]);
  await guest.fe.setVringAddr(tx.index, {
    flags: VRING_F_LOG,
    descUva: tx.ring.desc.uva,
    usedUva: tx.ring.used.uva,
    availUva: tx.ring.avail.uva,
    logGpa: 0xa_0000_0000n,
  });
  await stage.passFrames(guest);
});
