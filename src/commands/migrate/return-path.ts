import type { DeviceQueueState, DeviceState } from "../../daemon/state/device-state.ts";

/**
 * Until when, or why, a relayed ring stays so, in words: a device can only begin a ring at its beginning, so the ring
 * goes back to it the next time it gets there.
 */
export function untilDirect(state: DeviceState, queue: DeviceQueueState): string {
  if (state.datapath === "relay") return "as the device is served with --datapath relay";
  if (state.held) return "until vdpactl migrate cancel";
  if (state.logging) return "while the front-end has it logged";
  if (!state.features.device.includes("RING_RESET")) {
    return "until the guest's driver resets the device, which can not reset single queues";
  }
  const { positions, layout, size } = queue;
  if (!positions) return "until its position is back at the beginning";
  if (layout === "split") return `for ${65536 - positions.used} more entries, as long as packets flow`;
  // The device begins with wrap counter 1: after an odd lap another one follows.
  const laps = positions.used_wrap ? 2 : 1;
  return `for ${laps * size - positions.used} more descriptors, as long as packets flow`;
}
