import { resolve } from "node:path";
import type { TableValues } from "../../cli/verb.ts";
import type { DeviceRequest } from "../../daemon/device-request.ts";
import type { PassedSocket } from "../../daemon/systemd/passed-sockets.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import type { DEVICE_OPTIONS } from "./device-options.ts";
import { deviceRequest } from "./device-request.ts";

/**
 * The devices that the tables of a configuration file describe. Several simulated ones are `sim0`, `sim1` and so on.
 * @param passed sockets of the service manager. An only device gets them as on the command line; of several, each the
 *   one that is bound to its `socket`
 * @throws OperatorError (usage) that names the table, also when two tables share a device, a socket or an fd
 */
export function severalDevices(
  tables: readonly TableValues<typeof DEVICE_OPTIONS>[],
  passed: readonly PassedSocket[] = [],
): DeviceRequest[] {
  const requests = tables.map(({ where, options }) => {
    const its = passed.filter(({ path }) => path !== undefined && path === options.socket);
    return at(where, () => deviceRequest(options, tables.length === 1 ? passed : its));
  });
  const seen = new Map<string, string>();
  for (const [i, request] of requests.entries()) {
    const { where } = tables[i]!;
    for (const taken of exclusive(request)) {
      const earlier = seen.get(taken);
      if (earlier !== undefined) {
        throw new OperatorError(`${where}: ${taken} is taken`, { why: `${earlier} has it`, kind: "usage" });
      }
      seen.set(taken, where);
    }
  }
  const simulated = requests.filter(({ device }) => "sim" in device);
  if (simulated.length < 2) return requests;
  return requests.map((request) =>
    "sim" in request.device ? { ...request, name: `sim${simulated.indexOf(request)}` } : request,
  );
}

/** What a device needs for itself alone, as messages name it. */
function exclusive({ device, meeting }: DeviceRequest): string[] {
  const place = meeting.role === "fd" ? `fd ${meeting.fd}` : `socket ${resolve(meeting.path)}`;
  return "bdf" in device ? [device.bdf, place] : [place];
}

function at<T>(where: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    const { what, why, remedy, kind } = error;
    throw new OperatorError(`${where}: ${what}`, { why, remedy, kind, cause: error });
  }
}
