import { flag, list, type OptionValues, value } from "../../cli/options.ts";
import { integer, mask64, octalMode, oneOf, text } from "../../cli/values.ts";
import { parseBdf } from "../../hw/pci/bdf.ts";
import { FAULT_NAMES } from "../../hw/sim/fault-switch.ts";

/** What may be said of each device that is served: on the command line, or in its table of a configuration file. */
export const DEVICE_OPTIONS = {
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
  "keep-socket": flag("leave the socket with the service manager, so that it stays across restarts"),
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
  trace: flag("tell of every vhost-user message and every register write"),
  bind: flag("bind the device to vfio-pci first"),
  force: flag("serve a device whose DMA may bypass the IOMMU"),
} as const;

export type DeviceOptions = OptionValues<typeof DEVICE_OPTIONS>;

/** What no two devices can share, and what only some kinds of devices have. */
export const OWN_OPTIONS = ["pci", "sim", "sim-fault", "sim-fault-later", "socket", "fd"] as const;
