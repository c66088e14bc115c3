import { expect, test } from "bun:test";
import { ethtool_channels, ifreq, maxCombinedChannels } from "../../../../src/hw/pci/ethtool-channels.ts";

test("sizes and offsets are those of linux/ethtool.h and linux/if.h", () => {
  expect([ethtool_channels.size, ethtool_channels.offsets.max_combined]).toEqual([36, 16]);
  expect([ifreq.size, ifreq.offsets.ifr_data]).toEqual([40, 16]);
});

test("interfaces that have no channels or do not exist say nothing", () => {
  expect(maxCombinedChannels("lo")).toBeUndefined();
  expect(maxCombinedChannels("no-such-if")).toBeUndefined();
  expect(maxCombinedChannels("a-name-that-is-too-long")).toBeUndefined();
});
