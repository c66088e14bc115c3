import { expect } from "bun:test";
import { createEventfd } from "../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../src/hw/ffi/unix-socket.ts";
import { Channel } from "../support/front-end/channel.ts";
import type { Guest } from "../support/front-end/guest.ts";
import {
  Feature,
  memReg,
  Protocol,
  Request,
  Status,
  vringAddr,
  words,
} from "../support/front-end/protocol.ts";
import { startRing } from "../support/front-end/sequences.ts";
import { exchange } from "../support/front-end/traffic.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { passFrames } from "./support/well-behaved.ts";

const stage = new HostileStage();
const { SET_FEATURES, SET_STATUS, SET_PROTOCOL_FEATURES, NET_SET_MTU } = Request;

/** Frames that come back of a few that are sent, on all pairs together. */
async function returned(guest: Guest): Promise<number> {
  const reports = await exchange(guest, { frames: 8, from: 5_000_000, patienceMs: 300 });
  return reports.reduce((sum, report) => sum + report.returned, 0);
}

for (const [name, bit] of [
  ["ACCESS_PLATFORM", Feature.ACCESS_PLATFORM],
  ["bit 63", 1n << 63n],
  ["a transport bit nobody knows", 1n << 49n],
] as const) {
  stage.item(37, `${name}, which was never offered`, () =>
    stage.refuses({
      request: SET_FEATURES,
      payload: words(Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | bit),
      log: /feature/i,
    }),
  );
}
stage.item(37, "features that change while the device runs", async () => {
  const guest = await stage.guest({ eventIdx: true });
  const mark = stage.daemon.log.length;
  const other = guest.features & ~Feature.EVENT_IDX;
  expect(await guest.fe.ack(SET_FEATURES, words(other))).not.toBe(0n);
  await stage.daemon.logged(/run/, mark);
  expect(await guest.fe.ack(SET_FEATURES, words(guest.features))).toBe(0n);
  await stage.passFrames(guest);
});
stage.item(37, "a status of more than 8 bits", () =>
  stage.refuses({ request: SET_STATUS, payload: words(0x100n), log: /status/i }),
);
stage.item(37, "FEATURES_OK after features that were refused is not kept", async () => {
  const fe = await stage.negotiated();
  await fe.setStatus(Status.ACKNOWLEDGE | Status.DRIVER);
  expect(await fe.ack(SET_FEATURES, words(1n << 63n))).not.toBe(0n);
  // Refused at once, or not kept: either way the driver sees that it must not go on.
  await fe.ack(SET_STATUS, words(BigInt(Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK)));
  expect(Number(await fe.getStatus()) & Status.FEATURES_OK).toBe(0);
});
stage.item(37, "DRIVER_OK with nothing set up", async () => {
  const guest = await stage.idleGuest();
  const { fe } = guest;
  await fe.setFeatures(guest.features);
  const mark = stage.daemon.log.length;
  await fe.setStatus(0xf);
  expect(await fe.getStatus()).toBe(0xfn);
  // It starts with the last thing that it needs.
  for (const { description, fd } of guest.regions) await fe.addMemReg(description, fd);
  for (const queue of guest.machine.queues) await startRing(fe, queue);
  guest.pairs[0]!.refill();
  await stage.passFrames(guest);
  expect(stage.daemon.complaints(mark)).toEqual([]);
});
stage.item(37, "status bits are taken back by a reset only", async () => {
  const guest = await stage.guest();
  for (const status of [0xbn, 0x7n, 0x3n, 0x80n]) {
    const mark = stage.daemon.log.length;
    expect(await guest.fe.ack(SET_STATUS, words(status))).not.toBe(0n);
    await stage.daemon.logged(/takes back/, mark);
    expect(await guest.fe.getStatus()).toBe(0xfn);
  }
  await stage.passFrames(guest);
  await guest.fe.setStatus(0);
  expect(await guest.fe.getStatus()).toBe(0n);
  expect(await returned(guest)).toBe(0);
});

stage.item(38, "ring messages before SET_OWNER and features", async () => {
  const fe = await stage.silent();
  await fe.getFeatures();
  await fe.getProtocolFeatures();
  await fe.setProtocolFeatures(Protocol.REPLY_ACK | Protocol.MQ);
  const fd = stage.fd(createEventfd());
  const addresses = vringAddr(0, { descUva: 0n, usedUva: 0n, availUva: 0n });
  const mark = stage.daemon.log.length;
  expect(await fe.ack(Request.SET_VRING_NUM, words(0, 256))).toBe(0n);
  expect(await fe.ack(Request.SET_VRING_KICK, words(0n), [fd])).toBe(0n);
  expect(await fe.ack(Request.SET_VRING_CALL, words(0n), [fd])).toBe(0n);
  expect(await fe.ack(Request.SET_VRING_ADDR, addresses)).not.toBe(0n);
  await stage.daemon.logged(/before any memory table/, mark);
  await fe.barrier();
});
stage.item(38, "kicks before anything else", async () => {
  const fe = await stage.silent();
  const mark = stage.daemon.log.length;
  for (let index = 0n; index < 16n; index++) {
    const fd = stage.fd(createEventfd());
    await fe.post(Request.SET_VRING_KICK, words(index), [fd]);
    await fe.post(Request.SET_VRING_ENABLE, words(Number(index), 1));
  }
  await fe.barrier();
  expect(stage.daemon.complaints(mark)).toEqual([]);
});
stage.item(38, "protocol features that were never offered", () =>
  stage.refuses({ request: SET_PROTOCOL_FEATURES, payload: words(1n << 50n), log: /protocol feature/i }),
);
stage.item(38, "protocol features after the start", async () => {
  const guest = await stage.guest();
  const { protocolFeatures } = guest.fe;
  for (const bit of [Protocol.STATUS, Protocol.MTU]) {
    const mark = stage.daemon.log.length;
    expect(await guest.fe.ack(SET_PROTOCOL_FEATURES, words(protocolFeatures ^ bit))).not.toBe(0n);
    await stage.daemon.logged(/protocol features .*the device runs/, mark);
  }
  expect(await guest.fe.ack(SET_PROTOCOL_FEATURES, words(protocolFeatures))).toBe(0n);
  await stage.passFrames(guest);
});
stage.item(38, "messages of protocol features that were not negotiated", async () => {
  const fd = memfd("guest-hostile", 4096);
  const region = { gpa: 0n, size: 4096n, uva: 4096n, mmapOffset: 0n };
  const bare = async () => {
    const fe = await stage.silent();
    await fe.getFeatures();
    await fe.setProtocolFeatures(Protocol.REPLY_ACK);
    await fe.setOwner();
    return fe;
  };
  for (const [request, payload, fds] of [
    [NET_SET_MTU, words(1500n), []],
    [Request.RESET_DEVICE, new Uint8Array(0), []],
    [Request.ADD_MEM_REG, memReg(region), [fd]],
    [SET_STATUS, words(1n), []],
    [Request.IOTLB_MSG, new Uint8Array(32), []],
    [Request.SET_VRING_ENDIAN, words(0, 1), []],
    [Request.VRING_KICK, words(0, 0), []],
    [Request.SEND_RARP, words(0n), []],
  ] as const) {
    await stage.refuses({
      request,
      payload,
      fds,
      on: bare,
      log: /negotiat|not offered|unknown|supported/i,
      mayClose: true,
    });
  }
  closeFd(fd);
});

stage.item(
  39,
  "RESET_OWNER in the middle of traffic disables the rings, which can be enabled again",
  async () => {
    const guest = await stage.guest({ pairs: 2 });
    await passFrames(guest, { frames: 100 });
    let done = false;
    const flow = exchange(guest, { from: 1000, until: () => done, patienceMs: 300 });
    await guest.fe.set(Request.RESET_OWNER);
    await guest.fe.barrier();
    done = true;
    for (const report of await flow) expect(report).toMatchObject({ duplicates: 0, wrong: [] });
    // The rings stand where they were stopped.
    const bases = await guest.stop();
    for (const index of [1, 3]) expect(bases[index]).toBeGreaterThanOrEqual(100);
    await guest.start();
    await passFrames(guest, { frames: 100, from: 10_000_000 });
  },
);
stage.item(
  39,
  "RESET_DEVICE in the middle of traffic stops the device until the guest starts it",
  async () => {
    const guest = await stage.guest({ pairs: 2, without: Protocol.CONFIGURE_MEM_SLOTS });
    let done = false;
    const flow = exchange(guest, { until: () => done, patienceMs: 300 });
    await guest.fe.resetDevice();
    done = true;
    for (const report of await flow) expect(report).toMatchObject({ duplicates: 0, wrong: [] });
    expect(await guest.fe.getStatus()).toBe(0n);
    expect(await returned(guest)).toBe(0);
    for (const queue of guest.machine.queues) queue.reset();
    await guest.start();
    await passFrames(guest, { frames: 100, from: 10_000_000 });
  },
);

// The simulated device's MTU is 1500.
for (const mtu of [0n, 67n, 1501n, 65535n, 65536n, 1n << 40n, 0xffff_ffff_ffff_ffffn]) {
  stage.item(40, `an MTU of ${mtu}`, () =>
    stage.refuses({ request: NET_SET_MTU, payload: words(mtu), log: /MTU .*68 to 1500/ }),
  );
}
stage.item(40, "an MTU that fits", async () => {
  const fe = await stage.negotiated();
  for (const mtu of [68n, 1280n, 1500n]) expect(await fe.ack(NET_SET_MTU, words(mtu))).toBe(0n);
});

stage.item(41, "GET_CONFIG, which is not offered for net, is answered with zero length", async () => {
  const fe = await stage.negotiated();
  expect((await fe.getProtocolFeatures()) & Protocol.CONFIG).toBe(0n);
  for (const [offset, size] of [
    [0, 12],
    [0, 0],
    [4096, 4],
    [0xffff_fff0, 64],
  ] as const) {
    const reply = await fe.call(
      Request.GET_CONFIG,
      Buffer.concat([words(offset, size, 0), Buffer.alloc(size)]),
    );
    expect(reply.payload).toHaveLength(0);
  }
});
stage.item(41, "SET_CONFIG", () =>
  stage.refuses({ request: Request.SET_CONFIG, payload: words(0, 4, 0, 0), log: /CONFIG/, mayClose: true }),
);

stage.item(43, "a back channel on which the peer says something wrong and closes", async () => {
  const fe = await stage.negotiated();
  const [ours, theirs] = unixSocketPair();
  const mark = stage.daemon.log.length;
  expect(await fe.ack(Request.SET_BACKEND_REQ_FD, undefined, [theirs])).toBe(0n);
  closeFd(theirs);
  const channel = new Channel(ours);
  await channel.send(Buffer.alloc(64, 0xff));
  await channel.closed();
  channel.close();
  await stage.daemon.logged(/back channel/, mark);
  await fe.barrier();
});
stage.item(43, "a back channel that is no socket", () => {
  const fd = stage.fd(createEventfd());
  return stage.refuses({ request: Request.SET_BACKEND_REQ_FD, fds: [fd], log: /socket/ });
});
