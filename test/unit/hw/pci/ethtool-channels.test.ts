import { expect, test } from "bun:test";
import { maxCombinedChannels } from "../../../../src/hw/pci/ethtool-channels.ts";

test("interfaces that have no channels or do not exist say nothing", () => {
  expect(maxCombinedChannels("lo")).toBeUndefined();
  expect(maxCombinedChannels("no-such-if")).toBeUndefined();
  expect(maxCombinedChannels("a-name-that-is-too-long")).toBeUndefined();
});
