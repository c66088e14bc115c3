import { expect, test } from "bun:test";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import { Stage } from "../support/stage.ts";
import { u64s } from "../support/wire.ts";

const stage = new Stage();

test.each([68n, 1500n, 9000n])("MTU %d fits", (mtu) => {
  stage.negotiate();
  expect(stage.peer.ack(REQUEST.NET_SET_MTU, u64s(mtu))).toBe(0n);
  expect(stage.session.mtu).toBe(Number(mtu));
});

test.each([0n, 67n, 9001n, 65536n, (1n << 64n) - 1n])("MTU %d does not", (mtu) => {
  stage.negotiate();
  stage.refuses("NET_SET_MTU", `MTU ${mtu}: this device allows 68 to 9000`, u64s(mtu));
});

test("MTU must have been negotiated", () => {
  stage.negotiate({ protocol: 8n });
  stage.refuses("NET_SET_MTU", "MTU was not negotiated", u64s(1500n));
});

/** 52:54:00:ab:cd:ef in the payload's first six bytes; what is in the other two does not matter. */
const MAC = Uint8Array.of(0x52, 0x54, 0, 0xab, 0xcd, 0xef, 0xff, 0xff);

test("SEND_RARP has the device announce the address", () => {
  stage.run();
  expect(stage.peer.ack(REQUEST.SEND_RARP, MAC)).toBe(0n);
  expect(stage.device.takeCalls()).toEqual(["announce 525400abcdef"]);
});

test("an announcement that fails is told to whom asks, and ends no connection", () => {
  stage.run();
  stage.device.failing = "announce";
  expect(stage.peer.ack(REQUEST.SEND_RARP, MAC)).toBe(1n);
  stage.log.lines.length = 0;
  stage.peer.post(REQUEST.SEND_RARP, MAC);
  expect(stage.log.lines).toEqual([
    "warn SEND_RARP refused: the guest was not announced: announce failed on purpose",
  ]);
  expect(stage.peer.get(REQUEST.GET_FEATURES)).not.toBe(0n);
});

test.each([0, 1, 6, 7])("a SEND_RARP of %d bytes is refused", (length) => {
  stage.negotiate();
  stage.refuses("SEND_RARP", `payload of ${length} bytes: it has at least 8`, MAC.slice(0, length));
});

test.each([
  ["000000000000", "nobody's"],
  ["ffffffffffff", "everybody's"],
  ["01005e000001", "a group's"],
])("%s is %s address and not announced", (mac) => {
  stage.negotiate();
  const payload = Uint8Array.from(Buffer.from(`${mac}0000`, "hex"));
  stage.refuses("SEND_RARP", `MAC address ${mac}: it is no single station's`, payload);
});

test("SEND_RARP takes no fd", () => {
  stage.negotiate();
  stage.refuses("SEND_RARP", "the message carries 0", MAC, () => [stage.eventfd()]);
});

test("RARP must have been negotiated", () => {
  stage.negotiate({ protocol: 8n });
  stage.refuses("SEND_RARP", "RARP was not negotiated", MAC);
});
