import { afterAll, beforeAll, expect, test } from "bun:test";
import { createEventfd, drainEventfd } from "../../src/hw/ffi/eventfd.ts";
import { closeFd, dupFd, memfd } from "../../src/hw/ffi/fd.ts";
import { Channel } from "../support/front-end/channel.ts";
import { FrontEnd } from "../support/front-end/front-end.ts";
import { memReg, memTable, message, NO_FD, Protocol, Request, words } from "../support/front-end/protocol.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import { Daemon } from "./support/daemon.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { oddFd } from "./support/odd-fds.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const stage = new HostileStage();
const { SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, SET_MEM_TABLE, ADD_MEM_REG } = Request;

const eventfds = (n: number) => Array.from({ length: n }, () => stage.fd(createEventfd()));
const region = (i: number) => ({
  gpa: BigInt(i) << 21n,
  size: 1n << 21n,
  uva: 0x7f00_0000_0000n + (BigInt(i) << 21n),
  mmapOffset: 0n,
});
const memories = (n: number) => Array.from({ length: n }, () => stage.fd(memfd("guest-hostile", 1 << 21)));

const TAKE_NONE: [string, number, Uint8Array][] = [
  ["SET_FEATURES", Request.SET_FEATURES, words(0n)],
  ["SET_VRING_NUM", Request.SET_VRING_NUM, words(0, 256)],
  ["SET_VRING_ENABLE", Request.SET_VRING_ENABLE, words(0, 1)],
  ["SET_OWNER", Request.SET_OWNER, new Uint8Array(0)],
];
for (const [name, request, payload] of TAKE_NONE) {
  stage.item(8, `fds on ${name}, which takes none`, async () => {
    await stage.refuses({ request, payload, fds: eventfds(1), log: /fd|descriptor/, mayClose: true });
    await stage.refuses({ request, payload, fds: eventfds(8), log: /fd|descriptor/, mayClose: true });
  });
}
stage.item(8, "fds on GET_FEATURES, which takes none", () =>
  stage.closesOn(/fd|descriptor/, message(Request.GET_FEATURES), eventfds(1)),
);
stage.item(8, "an fd on REM_MEM_REG is closed, as the protocol allows for older front-ends", async () => {
  const fe = await stage.negotiated();
  const [fd] = memories(1);
  await fe.addMemReg(region(0), fd!);
  expect(await fe.ack(Request.REM_MEM_REG, memReg(region(0)), [fd!])).toBe(0n);
});

for (const count of [0, 1, 3]) {
  stage.item(9, `SET_MEM_TABLE of two regions with ${count} fds`, () =>
    stage.refuses({
      request: SET_MEM_TABLE,
      payload: memTable([region(0), region(1)]),
      fds: memories(count),
      log: /fd|descriptor/,
      mayClose: true,
    }),
  );
}
for (const count of [0, 2]) {
  stage.item(9, `ADD_MEM_REG with ${count} fds`, () =>
    stage.refuses({
      request: ADD_MEM_REG,
      payload: memReg(region(0)),
      fds: memories(count),
      log: /fd|descriptor/,
      mayClose: true,
    }),
  );
}
for (const [name, request] of Object.entries({ SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR })) {
  stage.item(9, `${name} with two fds`, () =>
    stage.refuses({ request, payload: words(0n), fds: eventfds(2), log: /fd|descriptor/, mayClose: true }),
  );
  stage.item(11, `${name} with the no-fd flag and an fd`, () =>
    stage.refuses({ request, payload: words(NO_FD), fds: eventfds(1), log: /fd|descriptor/, mayClose: true }),
  );
  stage.item(11, `${name} without an fd and without the flag`, () =>
    stage.refuses({ request, payload: words(0n), log: /fd|descriptor/, mayClose: true }),
  );
}
stage.item(9, "SET_BACKEND_REQ_FD and SET_LOG_FD without an fd", async () => {
  for (const request of [Request.SET_BACKEND_REQ_FD, Request.SET_LOG_FD])
    await stage.refuses({ request, log: /fd|descriptor/, mayClose: true });
});

for (const count of [9, 32, 253]) {
  stage.item(10, `${count} fds on one message`, () =>
    stage.closesOn(
      /file descriptors/,
      message(SET_MEM_TABLE, memTable([region(0)]), { flags: 9 }),
      eventfds(count),
    ),
  );
}

for (const kind of ["directory", "memory", "socket", "device"] as const) {
  for (const [name, request] of Object.entries({ SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR })) {
    stage.item(12, `${name} with a ${kind} instead of an eventfd`, async () => {
      const fd = stage.fd(oddFd[kind]());
      await stage.refuses({ request, payload: words(0n), fds: [fd], log: /eventfd/ });
    });
  }
}

stage.item(12, "blocking eventfds work like others", async () => {
  const guest = await stage.idleGuest({ pairs: 2 });
  for (const queue of guest.machine.queues) {
    closeFd(queue.kickFd);
    queue.kickFd = oddFd.blockingEventfd();
  }
  await guest.start();
  await stage.passFrames(guest);
});

stage.item(12, "one eventfd as kick and call of several rings", async () => {
  const guest = await stage.guest({ pairs: 2 });
  const [shared] = eventfds(1);
  const mark = stage.daemon.log.length;
  for (const queue of guest.machine.queues) {
    await guest.fe.setVringFd(SET_VRING_CALL, queue.index, shared!);
    await guest.fe.setVringFd(SET_VRING_KICK, queue.index, shared!);
    closeFd(queue.kickFd);
    queue.kickFd = dupFd(shared!);
    queue.signal();
  }
  await passFrames(guest);
  expect(stage.daemon.complaints(mark)).toEqual([]);
});

stage.item(12, "a kick fd that the peer drains too", async () => {
  const guest = await stage.guest();
  const { tx } = guest.pairs[0]!;
  let thefts = 0;
  // Lost kicks are the peer's own loss; one that is not lost brings everything.
  const onRound = () => (thefts <= 500 ? void drainEventfd(tx.kickFd) : tx.signal());
  const reports = await exchange(guest, { until: () => thefts++ >= 500, onRound });
  expect(trafficProblem(reports)).toBeUndefined();
  await passFrames(guest, { frames: 200, from: 1_000_000 });
});

// Which fds a device itself refuses is shown in the lab.
stage.item(13, "a call fd that is refused leaves the ring with the one before", async () => {
  const guest = await stage.guest();
  const wrong = stage.fd(oddFd.memory());
  const { index, callFd } = guest.pairs[0]!.rx;
  const mark = stage.daemon.log.length;
  expect(await guest.fe.ack(SET_VRING_CALL, words(BigInt(index)), [wrong])).not.toBe(0n);
  await stage.daemon.logged(/call fd.*no eventfd/, mark);
  // Whatever the start has signalled does not count.
  drainEventfd(callFd);
  const before = guest.interrupts[index] ?? 0;
  await stage.passFrames(guest);
  expect(guest.interrupts[index] ?? 0).toBeGreaterThan(before);
});

for (const [name, request] of Object.entries({ SET_VRING_KICK, SET_VRING_CALL })) {
  stage.item(14, `${name} a hundred thousand times`, async () => {
    const guest = await stage.guest({ without: Protocol.REPLY_ACK });
    const queue = guest.pairs[0]!.tx;
    const fd = request === SET_VRING_KICK ? queue.kickFd : queue.callFd;
    const before = stage.daemon.holdings();
    for (let i = 0; i < 100_000; i++) {
      await guest.fe.setVringFd(request, queue.index, fd);
      if (i % 1000 === 0) {
        await guest.fe.barrier();
        guest.fe.history.length = 0;
      }
    }
    await guest.fe.barrier();
    expect(stage.daemon.holdings().fds).toBeLessThanOrEqual(before.fds + 1);
    await stage.passFrames(guest);
  });
}

const NO_NUMBER_LEFT = /descriptors|EMFILE|Too many open files/;

/** A daemon with so few fd numbers that a front-end can use them up. */
let tight: Daemon;
beforeAll(async () => {
  const roomy = stage.daemon.holdings().fds;
  tight = await Daemon.start({ maxFiles: roomy + 24 });
}, 120_000);
afterAll(async () => {
  expect(await tight.stop()).toBe(0);
  await tight.dispose();
}, 60_000);

test("item 10: fds that find no number left in the process", async () => {
  await wellBehaved(tight, { pairs: 1 }, 50);
  const rest = tight.holdings();
  const mark = tight.log.length;
  const fe = new FrontEnd(await Channel.connect(tight.socketPath));
  const fds = Array.from({ length: 8 }, () => createEventfd());
  await fe.setOwner();
  // An error fd per ring is kept for as long as the connection lasts; eight at a time do not fit in the end.
  let ended = false;
  try {
    for (let index = 0; index < 16; index++) {
      for (const request of [SET_VRING_CALL, SET_VRING_ERR, SET_VRING_KICK])
        await fe.channel.send(message(request, words(BigInt(index))), [fds[0]!]);
    }
    await fe.channel.send(message(SET_MEM_TABLE, memTable([region(0)])), fds);
    await fe.channel.closed();
    ended = true;
  } catch (error) {
    ended = (error as Error).name === "PeerClosed";
  } finally {
    fe.close();
    fds.forEach(closeFd);
  }
  expect(ended).toBe(true);
  await tight.logged(NO_NUMBER_LEFT, mark);
  expect(tight.complaints(mark)).toEqual([expect.stringMatching(NO_NUMBER_LEFT)]);
  await tight.backTo(rest);
  await wellBehaved(tight, { pairs: 1 }, 50);
}, 60_000);

test("item 14: EMFILE while rings are set up", async () => {
  for (let round = 0; round < 3; round++) {
    const rest = tight.holdings();
    const mark = tight.log.length;
    const outcome = await wellBehaved(tight, { pairs: 8 }, 10).then(
      () => "served",
      (error: Error) => error.name,
    );
    expect(["Refused", "PeerClosed"]).toContain(outcome);
    await tight.logged(NO_NUMBER_LEFT, mark);
    expect(tight.complaints(mark)).toEqual([expect.stringMatching(NO_NUMBER_LEFT)]);
    await tight.backTo(rest);
  }
  await wellBehaved(tight, { pairs: 1 }, 50);
}, 60_000);
