import type { DeviceOptions } from "../../../../src/commands/serve/device-options.ts";

/** A device of which nothing is said. */
export const NOTHING: DeviceOptions = {
  pci: undefined,
  sim: false,
  "sim-fault": [],
  "sim-fault-later": false,
  socket: undefined,
  fd: undefined,
  client: false,
  "socket-mode": undefined,
  "socket-owner": undefined,
  "socket-group": undefined,
  "keep-socket": false,
  queues: undefined,
  "features-mask": undefined,
  doorbell: undefined,
  datapath: undefined,
  "relay-threads": undefined,
  bind: false,
  force: false,
  trace: false,
};
