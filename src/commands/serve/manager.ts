import { addressOf, ServiceManager } from "../../daemon/systemd/service-manager.ts";
import type { Log } from "../../hw/log.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import type { DeviceOptions } from "./device-options.ts";

/**
 * The service manager that started this process, if one did.
 * @throws OperatorError (usage) when a socket is to be left with a manager that is not there
 */
export function managerOf(devices: readonly DeviceOptions[], log: Log): ServiceManager {
  const address = addressOf(process.env);
  if (address === undefined && devices.some((options) => options["keep-socket"])) {
    throw new OperatorError("--keep-socket without a service manager", {
      why: "NOTIFY_SOCKET is not set, so nobody is there to keep the socket",
      remedy: "leave it out, or start the service with systemctl start vdpactl@BDF",
      kind: "usage",
    });
  }
  return new ServiceManager(address, log);
}
