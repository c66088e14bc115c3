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
