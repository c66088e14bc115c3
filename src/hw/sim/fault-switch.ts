import type { SimFaults, SimOptions } from "./sim-options.ts";

/** Misbehaviour that can be switched while the device runs. Plain data, so that it can be sent to a thread. */
export interface FaultSwitch {
  /** Eventfd that switches it on and off. */
  readonly fd: number;
  readonly faults: SimFaults;
  /** On from the start. */
  readonly on: boolean;
}

/** What takes these faults back. */
export function withdrawn(faults: SimFaults): SimFaults {
  return Object.fromEntries(Object.keys(faults).map((key) => [key, false])) as SimFaults;
}

/** What the simulated device can be ordered to do wrong, by the names that operators use. */
const NAMED = {
  "used-id": { faults: { wrongUsedId: true } },
  "used-twice": { faults: { usedTwice: true } },
  "used-jump": { faults: { usedJumps: true } },
  "used-length": { faults: { usedLenTooLong: true } },
  "needs-reset": { faults: { needsReset: true } },
  reset: { faults: { resetNeverCompletes: true } },
  "queue-reset": { faults: { queueResetNeverCompletes: true } },
  control: { faults: { controlNeverCompletes: true } },
  features: { faults: { refuseFeatures: true } },
  generation: { faults: { generationNeverSettles: true } },
  gone: { faults: { gone: true } },
  release: { faults: { releaseRequest: true } },
  doorbell: { faults: { refuseDoorbell: true } },
  "no-queue": { faults: { missingQueue: 1 } },
  "capability-loop": { shape: { faults: { capabilityLoop: true } } },
  "few-vectors": { shape: { msixVectors: 3 } },
  "no-vectors": { shape: { msixVectors: 0 } },
  shuffled: { shape: { shuffleSeed: 1 } },
} as const satisfies Record<string, { faults?: SimFaults; shape?: SimOptions }>;

export type FaultName = keyof typeof NAMED;
export const FAULT_NAMES = Object.keys(NAMED) as FaultName[];

/** The device as ordered: what it is from the start to its end, and what can be switched. */
export function orderFaults(names: readonly FaultName[]): { shape: SimOptions; faults: SimFaults } {
  const orders: readonly { faults?: SimFaults; shape?: SimOptions }[] = names.map((name) => NAMED[name]);
  return {
    shape: Object.assign({}, ...orders.map((order) => order.shape)),
    faults: Object.assign({}, ...orders.map((order) => order.faults)),
  };
}
