import type { FaultSwitch } from "../hw/sim/fault-switch.ts";
import type { SimOptions } from "../hw/sim/sim-options.ts";
import type { DeviceWorkerData } from "./messages.ts";

/** A device to serve, to whom and how. */
export interface DeviceRequest
  extends Pick<
    DeviceWorkerData,
    "meeting" | "queuePairs" | "featuresMask" | "doorbells" | "datapath" | "force" | "trace"
  > {
  /** Full BDF, or a name of its own among the devices of the process. */
  readonly name: string;
  /** A PCI device by its full BDF, or the simulated device. */
  readonly device:
    | { readonly bdf: string }
    | { readonly sim: SimOptions; readonly switched: Omit<FaultSwitch, "fd"> };
  /** Threads that move the entries of relayed rings; with 0 the device's thread does. */
  readonly relayThreads: number;
}
