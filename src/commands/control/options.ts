import { value } from "../../cli/options.ts";
import { text } from "../../cli/values.ts";
import { parseBdf } from "../../hw/pci/bdf.ts";

/** Where daemons have their control sockets. */
export const RUNTIME_DIR = value("DIR", text, "where the control sockets of running daemons are");

/** Flags that choose one device of those that are served on this machine. */
export const DEVICE = {
  pci: value("BDF", parseBdf, "the device, where several are served"),
  socket: value("PATH", text, "its vhost-user socket, instead"),
  "runtime-dir": RUNTIME_DIR,
} as const;
