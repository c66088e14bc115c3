import { expect } from "bun:test";
import { message, Request, words } from "../support/front-end/protocol.ts";
import { HostileStage } from "./support/hostile-stage.ts";

const stage = new HostileStage();
const { GET_FEATURES, SET_FEATURES, SET_MEM_TABLE, SET_VRING_ADDR, SET_VRING_NUM, SET_VRING_KICK } = Request;

stage.item(1, "the peer closes in the middle of a header", async () => {
  const mark = stage.daemon.log.length;
  const channel = await stage.channel();
  await channel.send(message(GET_FEATURES).subarray(0, 5));
  channel.close();
  await stage.daemon.logged(/middle of a message/, mark);
});

stage.item(1, "the peer closes in the middle of a payload", async () => {
  const mark = stage.daemon.log.length;
  const channel = await stage.channel();
  await channel.send(message(SET_VRING_NUM, words(0, 256)).subarray(0, 15));
  channel.close();
  await stage.daemon.logged(/middle of a message/, mark);
});

stage.item(1, "a header in two parts is one message", async () => {
  const fe = await stage.silent();
  const whole = message(GET_FEATURES);
  await fe.channel.send(whole.subarray(0, 7));
  await Bun.sleep(20);
  await fe.channel.send(whole.subarray(7));
  expect((await fe.channel.receive()).request).toBe(GET_FEATURES);
});

for (const size of [4097, 65536, 0xffff_ffff]) {
  stage.item(2, `a size of ${size}`, async () => {
    await stage.closesOn(/payload of \d+ bytes/, message(SET_FEATURES, words(0n), { size }));
  });
}

const SHORT: [number, number][] = [
  [SET_FEATURES, 4],
  [SET_FEATURES, 0],
  [SET_VRING_NUM, 7],
  [SET_VRING_ADDR, 39],
  [SET_VRING_KICK, 4],
  [SET_MEM_TABLE, 0],
  [SET_MEM_TABLE, 4],
  [Request.SET_LOG_BASE, 8],
  [Request.ADD_MEM_REG, 32],
  [Request.GET_VRING_BASE, 4],
  [Request.SET_STATUS, 1],
  [Request.NET_SET_MTU, 2],
];
for (const [request, size] of SHORT) {
  stage.item(3, `request ${request} with a payload of ${size} bytes`, () =>
    stage.refuses({ request, payload: new Uint8Array(size), log: /bytes/, mayClose: true }),
  );
}

for (const flags of [0x0, 0x2, 0x3]) {
  stage.item(4, `version ${flags}`, () =>
    stage.closesOn(/version/, message(GET_FEATURES, undefined, { flags })),
  );
}
stage.item(4, "the reply bit in a request", () =>
  stage.closesOn(/reply|flags/, message(GET_FEATURES, undefined, { flags: 0x5 })),
);
for (const flags of [0x11, 0x8000_0001]) {
  stage.item(4, `reserved flags 0x${flags.toString(16)}`, () =>
    stage.closesOn(/flags/, message(SET_FEATURES, words(0n), { flags })),
  );
}

for (const [request, name] of [
  [0, "request 0"],
  [41, "GET_SHARED_OBJECT"],
  [44, "GET_SHMEM_CONFIG"],
  [1000, "request 1000"],
  [0xffff_ffff, "request 4294967295"],
] as const) {
  stage.item(5, name, () =>
    stage.refuses({ request, log: new RegExp(`${name} refused: not supported`), mayClose: true }),
  );
}

stage.item(6, "a payload that arrives byte by byte", async () => {
  const fe = await stage.negotiated();
  for (const byte of message(SET_VRING_NUM, words(0, 256), { flags: 9 })) {
    await fe.channel.send(new Uint8Array([byte]));
    await Bun.sleep(2);
  }
  const { request, payload } = await fe.channel.receive();
  expect(request).toBe(SET_VRING_NUM);
  expect([...payload]).toEqual(Array(8).fill(0));
});

stage.item(6, "many messages in one piece", async () => {
  const fe = await stage.negotiated();
  const one = message(SET_VRING_NUM, words(0, 256), { flags: 9 });
  await fe.channel.send(Buffer.concat(Array.from({ length: 500 }, () => one)));
  for (let i = 0; i < 500; i++) expect((await fe.channel.receive()).payload).toEqual(Buffer.alloc(8));
});

stage.item(7, "an error with NEED_REPLY is an ack and the connection goes on; without it ends", async () => {
  await stage.refuses({ request: SET_VRING_NUM, payload: words(0, 0), log: /SET_VRING_NUM/ });
});

stage.item(7, "after an error with NEED_REPLY the session works", async () => {
  const guest = await stage.idleGuest();
  expect(await guest.fe.ack(SET_VRING_NUM, words(0, 0))).not.toBe(0n);
  expect(await guest.fe.ack(SET_VRING_ADDR, new Uint8Array(40))).not.toBe(0n);
  await guest.start();
  await stage.passFrames(guest);
});

stage.item(7, "NEED_REPLY without REPLY_ACK negotiated", async () => {
  const fe = await stage.silent();
  await fe.setOwner();
  await fe.post(SET_VRING_NUM, words(0, 256), [], 9);
  await fe.post(GET_FEATURES);
  // The flag has no meaning yet: no ack comes before the reply.
  expect((await fe.channel.receive()).request).toBe(GET_FEATURES);
});
