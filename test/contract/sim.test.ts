import type { SimOptions } from "../../src/hw/sim/sim-options.ts";
import { startSim } from "../support/virtio-driver/start-sim.ts";
import { runDeviceContract } from "./device-contract.ts";

function contract(name: string, options: SimOptions): void {
  let ended: Promise<void> | undefined;
  runDeviceContract(name, {
    samePair: true,
    open() {
      const sim = startSim(options);
      ended = sim.ended;
      return sim.fn;
    },
    ended: async () => ended,
  });
}

contract("simulated device", {});
contract("simulated device, completions shuffled", { shuffleSeed: 1, notifyMultiplier: 4096 });
contract("simulated device, one pair without RING_RESET", { pairs: 1, withhold: 1n << 40n, inOrder: true });
