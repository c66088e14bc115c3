import type { DeviceRequest } from "../../daemon/device-request.ts";
import { meetingOf } from "../../daemon/meeting.ts";
import type { PassedSocket } from "../../daemon/systemd/passed-sockets.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import { orderFaults } from "../../hw/sim/fault-switch.ts";
import type { DeviceOptions } from "./device-options.ts";

/**
 * One device as it is to be served.
 * @param passed sockets of the service manager that may be meant for it
 * @throws OperatorError (usage) for options that do not go together
 */
export function deviceRequest(options: DeviceOptions, passed: readonly PassedSocket[] = []): DeviceRequest {
  if ((options.pci === undefined) === !options.sim) {
    throw new OperatorError("which device is to be served?", {
      why: options.sim ? "--pci and --sim exclude each other" : "neither --pci nor --sim is given",
      remedy: "vdpactl probe lists the devices",
      kind: "usage",
    });
  }
  if (!options.sim && options["sim-fault"].length > 0) {
    throw new OperatorError("--sim-fault without --sim", {
      why: "only the simulated device can be told to misbehave",
      kind: "usage",
    });
  }
  const relayThreads = options["relay-threads"] ?? 0;
  if (relayThreads > 0 && options.datapath === "direct") {
    throw new OperatorError("--relay-threads has no meaning with --datapath direct", {
      why: "no ring is relayed then",
      remedy: "leave one of them out",
      kind: "usage",
    });
  }
  return {
    name: options.pci ?? "sim",
    device: options.pci === undefined ? simulated(options) : { bdf: options.pci },
    meeting: meetingOf(options, passed),
    queuePairs: options.queues,
    featuresMask: options["features-mask"] ?? ~0n,
    doorbells: options.doorbell ?? "auto",
    datapath: options.datapath ?? "auto",
    relayThreads,
    force: options.force,
    trace: options.trace,
  };
}

function simulated(options: DeviceOptions): DeviceRequest["device"] {
  const { shape, faults } = orderFaults(options["sim-fault"]);
  return { sim: shape, switched: { faults, on: !options["sim-fault-later"] } };
}
