import { flag, list, value } from "../cli/options.ts";
import { integer, mask64, octalMode, oneOf, text } from "../cli/values.ts";
import { defineVerb } from "../cli/verb.ts";
import { meetingOf } from "../daemon/meeting.ts";
import { parseMetricsAddress } from "../daemon/metrics/metrics-server.ts";
import { type ServeRequest, serve } from "../daemon/serve.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { parseBdf } from "../hw/pci/bdf.ts";
import { FAULT_NAMES, type FaultName, orderFaults } from "../hw/sim/fault-switch.ts";
import { RUNTIME_DIR } from "./control/options.ts";

/** What programs that start back-ends ask for (QEMU docs/interop/vhost-user.rst, "Backend program conventions"). */
const CAPABILITIES = { type: "net" };

export default defineVerb({
  name: "serve",
  description: "Serve a virtio device to a vhost-user front-end",
  options: {
    pci: value("BDF", parseBdf, "the device, which must be bound to vfio-pci"),
    sim: flag("serve a simulated network device, to try a front-end without a spare NIC"),
    "sim-fault": list(
      "NAME",
      oneOf(...FAULT_NAMES),
      "what the simulated device does wrong, to try a front-end; ? lists the names",
    ),
    "sim-fault-later": flag(
      "begin with it at the first SIGUSR2 only; each further one ends it or brings it back",
    ),
    socket: value("PATH", text, "socket to listen on, or to connect to", { alias: ["socket-path"] }),
    fd: value("N", integer(3, 1 << 20), "use this inherited socket instead"),
    client: flag("connect to the socket, again and again, instead of listening"),
    "socket-mode": value("MODE", octalMode, "permissions of the socket, for example 0660"),
    "socket-owner": value("USER", text, "owner of the socket, a name or number"),
    "socket-group": value("GROUP", text, "group of the socket, a name or number"),
    queues: value("N", integer(1, 128), "the most queue pairs to offer"),
    "features-mask": value("MASK", mask64, "virtio feature bits that may be offered"),
    doorbell: value(
      "HOW",
      oneOf("auto", "relay"),
      "who rings doorbells: the kernel where it can, or this process",
    ),
    datapath: value(
      "HOW",
      oneOf("auto", "direct", "relay"),
      "who moves ring entries: the device where it can, only the device, or this process",
    ),
    "relay-threads": value(
      "N",
      integer(0, 64),
      "threads that move ring entries, pairs in turn; 0: the device's thread",
    ),
    bind: flag("bind the device to vfio-pci first"),
    force: flag("serve a device whose DMA may bypass the IOMMU"),
    "runtime-dir": RUNTIME_DIR,
    metrics: value("ADDRESS", parseMetricsAddress, "serve metrics over HTTP at ADDR:PORT or unix:PATH"),
    "print-capabilities": flag("print what this back-end can do as JSON and exit"),
  },
  examples: [
    "vdpactl serve --pci 0000:00:04.0 --socket /tmp/vh.sock",
    "vdpactl serve --sim --socket /tmp/vh.sock",
  ],
  async run({ options, output, log, logSettings, signal }) {
    if (options["print-capabilities"]) {
      output.write(JSON.stringify(CAPABILITIES, null, 2) + "\n");
      return 0;
    }
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
    const meeting = meetingOf(options);
    if (options.bind && options.pci !== undefined) {
      const { bindDevices } = await import("../hw/pci/bind.ts");
      await bindDevices([options.pci], log);
    }
    await serve(
      {
        device: options.pci === undefined ? simulated(options) : { bdf: options.pci },
        meeting,
        queuePairs: options.queues,
        featuresMask: options["features-mask"] ?? ~0n,
        doorbells: options.doorbell ?? "auto",
        datapath: options.datapath ?? "auto",
        relayThreads,
        force: options.force,
        logSettings,
        runtimeDirectory: options["runtime-dir"],
        metrics: options.metrics,
        entry: Bun.main,
        signal,
      },
      log,
      (line) => output.write(`${line}\n`),
    );
    return 0;
  },
});

function simulated(options: {
  readonly "sim-fault": readonly FaultName[];
  readonly "sim-fault-later": boolean;
}): ServeRequest["device"] {
  const { shape, faults } = orderFaults(options["sim-fault"]);
  return { sim: shape, switched: { faults, on: !options["sim-fault-later"] } };
}
