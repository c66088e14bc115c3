import { expect, test } from "bun:test";
import * as fc from "fast-check";
import * as F from "../../../src/hw/virtio/features.ts";
import { offeredToFrontEnd, wantedFromDevice } from "../../../src/vdpa/feature-sets.ts";

const bit = (n: number) => 1n << BigInt(n);
const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | bit(n), 0n);
const anyFeatures = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

test("what belongs to the device's control queue and its addresses is withheld", () => {
  const offered = offeredToFrontEnd(~0n & ((1n << 64n) - 1n), ~0n);
  for (const withheld of [
    F.VIRTIO_F_ACCESS_PLATFORM,
    F.VIRTIO_F_NOTIFICATION_DATA,
    F.VIRTIO_NET_F_CTRL_VQ,
    F.VIRTIO_NET_F_RSS,
    F.VIRTIO_NET_F_STATUS,
  ]) {
    expect(offered & bit(withheld)).toBe(0n);
  }
  for (const passed of [
    F.VIRTIO_F_RING_PACKED,
    F.VIRTIO_NET_F_MQ,
    F.VIRTIO_NET_F_MRG_RXBUF,
    F.VIRTIO_F_IN_ORDER,
  ]) {
    expect(offered & bit(passed)).toBe(bit(passed));
  }
});

test("bits that vhost-user has another use for are neither passed on to the front-end nor to the device", () => {
  const all = (1n << 64n) - 1n;
  const taken = bits(26, 30);
  expect(offeredToFrontEnd(all, ~0n) & taken).toBe(0n);
  expect(wantedFromDevice(all, all) & taken).toBe(0n);
});

test("GUEST_ANNOUNCE is offered without the device and never reaches it", () => {
  const device = bits(F.VIRTIO_F_VERSION_1, F.VIRTIO_NET_F_GUEST_ANNOUNCE);
  expect(offeredToFrontEnd(bit(F.VIRTIO_F_VERSION_1), ~0n) & bit(F.VIRTIO_NET_F_GUEST_ANNOUNCE)).not.toBe(0n);
  expect(wantedFromDevice(~0n, device) & bit(F.VIRTIO_NET_F_GUEST_ANNOUNCE)).toBe(0n);
});

test("several pairs are offered only where the device has a control queue to switch them on", () => {
  const mq = bit(F.VIRTIO_NET_F_MQ);
  expect(offeredToFrontEnd(mq, ~0n) & mq).toBe(0n);
  expect(offeredToFrontEnd(mq | bit(F.VIRTIO_NET_F_CTRL_VQ), ~0n) & mq).toBe(mq);
});

test("the mask limits what is offered", () => {
  fc.assert(
    fc.property(anyFeatures, anyFeatures, (device, mask) => (offeredToFrontEnd(device, mask) & ~mask) === 0n),
  );
});

test("the device is asked for nothing that it does not offer, and for all it must have", () => {
  const must = bits(F.VIRTIO_F_VERSION_1, F.VIRTIO_F_ACCESS_PLATFORM, F.VIRTIO_F_RING_RESET);
  fc.assert(
    fc.property(anyFeatures, anyFeatures, (device, chosen) => {
      const wanted = wantedFromDevice(chosen, device);
      return (wanted & ~device) === 0n && (wanted & must) === (device & must);
    }),
  );
});
