import { describe, expect, test } from "bun:test";
import { Channel } from "../support/front-end/channel.ts";
import type { GuestOptions } from "../support/front-end/guest.ts";
import { Protocol, Request } from "../support/front-end/protocol.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { passFrames } from "./support/well-behaved.ts";

const { start, guestOf } = forEachTest();

/** 52:54:00:12:34:56 as SEND_RARP carries it. */
const PAYLOAD = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0, 0);
const FRAME = `${"f".repeat(12)}52540012345680350001080006040003${"52540012345600000000".repeat(2)}`.padEnd(
  120,
  "0",
);

for (const packed of [false, true]) {
  describe(packed ? "packed" : "split", () => {
    const layouts: GuestOptions = packed ? { layouts: ["single", "indirect"], indirect: true } : {};
    for (const datapath of ["auto", "relay"]) {
      test(`QEMU's five announcements after a migration, under traffic, --datapath ${datapath}`, async () => {
        const daemon = await start({ args: ["--datapath", datapath] });
        const guest = await guestOf(daemon, { packed, eventIdx: true, ...layouts });
        expect(guest.fe.protocolFeatures & Protocol.RARP).toBe(Protocol.RARP);
        const came: string[] = [];
        const onForeign = (frame: Buffer) => void came.push(frame.toString("hex"));
        for (let i = 0; i < 5; i++) {
          let done = false;
          const traffic = passFrames(guest, { from: 1_000_000 * i, until: () => done, onForeign });
          // QEMU asks for no answer.
          await guest.fe.post(Request.SEND_RARP, PAYLOAD);
          await guest.fe.barrier();
          done = true;
          await traffic;
          await passFrames(guest, { frames: 200, from: 1_000_000 * i + 500_000, onForeign });
        }
        expect(came).toEqual(Array(5).fill(FRAME));
        expect(
          daemon.log.filter((line) => /announced 52:54:00:12:34:56 to the network/.test(line)),
        ).toHaveLength(5);
        expect(daemon.log.filter((line) => /^(error|warn)/.test(line))).toEqual([]);
      }, 60_000);
    }
  });
}

test("at the destination of a migration, right after the start", async () => {
  const [source, destination] = [await start(), await start()];
  const guest = await guestOf(source);
  await passFrames(guest, { frames: 300 });
  await guest.pause();
  await guest.reconnect(await Channel.connect(destination.socketPath));
  await guest.resume();
  expect(await guest.fe.ack(Request.SEND_RARP, PAYLOAD)).toBe(0n);
  const came: string[] = [];
  await passFrames(guest, {
    frames: 300,
    from: 1000,
    onForeign: (frame) => void came.push(frame.toString("hex")),
  });
  expect(came).toEqual([FRAME]);
}, 60_000);

test("before the start there is nothing to send on: no answer asked, no harm done", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon);
  await guest.stop();
  await guest.fe.post(Request.SEND_RARP, PAYLOAD);
  await daemon.logged(/SEND_RARP refused: the guest was not announced: .* does not run/);
  expect(await guest.fe.ack(Request.SEND_RARP, PAYLOAD)).not.toBe(0n);
  await guest.start();
  await passFrames(guest, { frames: 200 });
}, 60_000);

test("--datapath direct does not offer what it can not do", async () => {
  const guest = await guestOf(await start({ args: ["--datapath", "direct"] }));
  expect((await guest.fe.getProtocolFeatures()) & Protocol.RARP).toBe(0n);
}, 60_000);
