import { expect, test } from "bun:test";
import { requireTranslatedDma } from "../../../src/vdpa/translated-dma.ts";

const ACCESS_PLATFORM = 1n << 33n;

test("only in a virtual machine may a device's DMA bypass the IOMMU", () => {
  expect(() => requireTranslatedDma("nic", ~ACCESS_PLATFORM, true)).toThrow(/bypass the virtual IOMMU/);
  expect(() => requireTranslatedDma("nic", ~ACCESS_PLATFORM, false)).not.toThrow();
  expect(() => requireTranslatedDma("nic", ACCESS_PLATFORM, true)).not.toThrow();
});
