import type { DeviceState } from "../../../src/daemon/state/device-state.ts";
import type { Daemon } from "./daemon.ts";

/** Firmware under emulation takes some seconds until it asks for an address, many on a busy machine. */
const FIRMWARE_MS = 90_000;
const LOOK_MS = 100;

export interface Frames {
  readonly rx: number;
  readonly tx: number;
}

/**
 * Waits until a guest's firmware, which asks the network for an address, has sent and received more frames through the
 * simulated device than before. The NIC is driven by somebody then who knows nothing of vdpactl.
 */
export async function framesOfFirmware(daemon: Daemon, before: Frames = { rx: 0, tx: 0 }): Promise<Frames> {
  const deadline = performance.now() + FIRMWARE_MS;
  for (;;) {
    daemon.assertAlive();
    const [state] = await daemon.askJson<DeviceState[]>("stats");
    const used = (type: string) => state?.queues.find((queue) => queue.type === type)?.positions?.used ?? 0;
    const now = { rx: used("rx"), tx: used("tx") };
    if (now.rx > before.rx && now.tx > before.tx) return now;
    if (performance.now() > deadline) {
      throw new Error(`no frames after ${JSON.stringify(before)}:\n${daemon.log.join("\n")}`);
    }
    await Bun.sleep(LOOK_MS);
  }
}
