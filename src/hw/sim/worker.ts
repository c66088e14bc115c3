import type { Log } from "../log.ts";
import { MailboxServer } from "../mailbox.ts";
import { messageOf } from "../operator-error.ts";
import { SimCounters } from "./counters.ts";
import type { FaultSwitch } from "./fault-switch.ts";
import { countersOf, PROTOCOL, type SimLink } from "./mailbox.ts";
import { SimDevice } from "./sim-device.ts";
import type { SimOptions } from "./sim-options.ts";
import { SimServer } from "./sim-server.ts";

/**
 * Runs the simulated device in this thread until the connected side closes it. Blocks: nothing else of the thread
 * is served meanwhile. Whatever goes wrong is told to the connected side and logged.
 */
export function runSimWorker(link: SimLink, options: SimOptions, log: Log, faultSwitch?: FaultSwitch): void {
  const mailbox = new MailboxServer(link, PROTOCOL);
  try {
    const { buffer, offset } = countersOf(link);
    const device = new SimDevice(options, log, new SimCounters(buffer, offset));
    const server = new SimServer(device, mailbox, link.requestFd);
    if (faultSwitch) server.switchFaults(faultSwitch, log);
    server.run();
  } catch (error) {
    mailbox.die(error);
    log.error(`the thread of the simulated device has died: ${messageOf(error)}`, {
      event: "sim_died",
      error: messageOf(error),
    });
  }
}
