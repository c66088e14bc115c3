import { expect, test } from "bun:test";
import fc from "fast-check";
import { msixCapability, virtioCapabilities, walkCapabilities } from "../../../../src/hw/pci/capabilities.ts";
import { ConfigSpace, modernNet } from "./config-space.ts";

test("virtio structures come in the order of the list", () => {
  const caps = virtioCapabilities(modernNet().bytes);
  expect(caps.map(({ cfg_type }) => cfg_type)).toEqual([1, 3, 4, 2]);
  expect(caps[3]).toEqual({
    cfg_type: 2,
    bar: 0,
    id: 0,
    offset: 0x6000,
    length: 0x1000,
    notify_off_multiplier: 4,
    at: 0x70,
  });
});

test("MSI-X table and pending bits", () => {
  const config = new ConfigSpace().addMsix(0x40, 0x87ff, 0xfffff001, 0x3005);
  expect(msixCapability(config.bytes)).toEqual({
    tableSize: 2048,
    tableBar: 1,
    tableOffset: 0xfffff000,
    pbaBar: 5,
    pbaOffset: 0x3000,
    enabled: true,
    at: 0x40,
  });
});

test("MSI-X in a reserved BAR is none", () => {
  expect(msixCapability(new ConfigSpace().addMsix(0x40, 0, 0x7, 0).bytes)).toBeUndefined();
  expect(msixCapability(new ConfigSpace().addMsix(0x40, 0, 0, 0x6).bytes)).toBeUndefined();
});

test("64-bit shared memory regions are merged", () => {
  const high = [1, 0, 0, 0, 2, 0, 0, 0];
  const config = new ConfigSpace().addVirtio(0x40, {
    type: 8,
    bar: 2,
    id: 7,
    offset: 16,
    length: 32,
    more: high,
  });
  expect(virtioCapabilities(config.bytes)).toEqual([
    { cfg_type: 8, bar: 2, id: 7, offset: 2 ** 32 + 16, length: 2 * 2 ** 32 + 32, at: 0x40 },
  ]);
});

test("a shared memory region beyond 2^53 is left out", () => {
  const high = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
  const config = new ConfigSpace().addVirtio(0x40, { type: 8, bar: 2, offset: 0, length: 1, more: high });
  expect(virtioCapabilities(config.bytes)).toEqual([]);
});

test("reserved types, reserved BARs and short capabilities are left out", () => {
  const config = new ConfigSpace()
    .addVirtio(0x40, { type: 6, bar: 0, offset: 0, length: 4 })
    .addVirtio(0x50, { type: 1, bar: 6, offset: 0, length: 56 })
    .addVirtio(0x60, { type: 2, bar: 0, offset: 0, length: 4 });
  expect(virtioCapabilities(config.bytes)).toEqual([]);
});

test("a longer capability than we know is accepted", () => {
  const config = new ConfigSpace().addVirtio(0x40, {
    type: 1,
    bar: 4,
    offset: 0,
    length: 64,
    more: [9, 9, 9, 9],
  });
  expect(virtioCapabilities(config.bytes)).toMatchObject([{ cfg_type: 1, bar: 4 }]);
});

test("vendor data has a vendor and no place", () => {
  const config = new ConfigSpace().add(0x40, 0x09, [8, 9, 0xf4, 0x1a, 0, 0]);
  expect(virtioCapabilities(config.bytes)).toEqual([
    { cfg_type: 9, bar: 0, id: 0, offset: 0, length: 0, vendor_id: 0x1af4, at: 0x40 },
  ]);
});

test("a list that loops ends", () => {
  const config = modernNet();
  config.bytes[0x99] = 0x40;
  expect(walkCapabilities(config.bytes)).toHaveLength(5);
});

test("a pointer into the header ends the list", () => {
  const config = modernNet();
  config.bytes[0x41] = 0x10;
  expect(walkCapabilities(config.bytes)).toEqual([{ id: 9, offset: 0x40 }]);
});

test("a capability cut off by the end of the space is left out", () => {
  const config = new ConfigSpace().add(0xfc, 0x09, []);
  config.bytes[0xfe] = 16;
  config.bytes[0xff] = 1;
  expect(virtioCapabilities(config.bytes)).toEqual([]);
});

test("nothing is found in 64 bytes, without the list bit, or in a device that is gone", () => {
  const { bytes } = modernNet();
  expect(walkCapabilities(bytes.subarray(0, 64))).toEqual([]);
  expect(walkCapabilities(bytes.with(6, 0))).toEqual([]);
  expect(walkCapabilities(new Uint8Array(256).fill(0xff))).toEqual([]);
});

test("any bytes give a bounded list inside of the space", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 300 }), (noise) => {
      const config = noise.slice();
      if (config.length > 6) config[6]! |= 0x10;
      const caps = walkCapabilities(config);
      expect(caps.length).toBeLessThanOrEqual(48);
      for (const { offset } of caps) expect(offset).toBeWithin(0x40, Math.min(config.length, 0x100));
      for (const { bar, offset, length } of virtioCapabilities(config)) {
        expect(bar).toBeWithin(0, 6);
        expect(Number.isSafeInteger(offset + length)).toBe(true);
      }
      msixCapability(config);
    }),
  );
});
