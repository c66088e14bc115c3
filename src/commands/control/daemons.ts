import { ControlClient } from "../../daemon/control/control-client.ts";
import {
  checkRuntimeDirectory,
  controlSockets,
  runtimeDirectory,
} from "../../daemon/control/runtime-directory.ts";
import type { DeviceState } from "../../daemon/state/device-state.ts";
import { OperatorError } from "../../hw/operator-error.ts";

/** How the operator chose among devices and daemons. */
export interface DeviceChoice {
  readonly pci: string | undefined;
  readonly socket: string | undefined;
  readonly "runtime-dir": string | undefined;
}

/** A served device, with the connection to its daemon. */
export interface Served {
  readonly client: ControlClient;
  readonly state: DeviceState;
}

/** All daemons of the runtime directory that live. The caller closes them. */
export async function connectDaemons(choice: Pick<DeviceChoice, "runtime-dir">): Promise<ControlClient[]> {
  const directory = runtimeDirectory(choice["runtime-dir"]);
  const sockets = controlSockets(directory);
  if (sockets.length > 0) checkRuntimeDirectory(directory);
  const clients: ControlClient[] = [];
  for (const socket of sockets) {
    const client = await ControlClient.connect(socket);
    if (client) clients.push(client);
  }
  return clients;
}

export async function stateOf(
  client: ControlClient,
  options: { rates?: boolean; signal?: AbortSignal } = {},
): Promise<readonly DeviceState[]> {
  const { rates = false, signal } = options;
  const result = await client.ask({ op: "state", rates }, signal ? { signal } : {});
  return (result as { devices: readonly DeviceState[] }).devices;
}

export function isChosen({ device, meeting }: DeviceState, { pci, socket }: DeviceChoice): boolean {
  return (pci === undefined || device === pci) && (socket === undefined || meeting.path === socket);
}

/**
 * The one device that is meant.
 * @throws OperatorError that lists the devices when it is not clear which; the signal's reason
 */
export async function findDevice(choice: DeviceChoice, signal: AbortSignal): Promise<Served> {
  const clients = await connectDaemons(choice);
  const all: Served[] = [];
  try {
    for (const client of clients) {
      for (const state of await stateOf(client, { signal })) all.push({ client, state });
    }
    const found = onlyOne(all, choice);
    for (const client of clients) if (client !== found.client) client.close();
    return found;
  } catch (error) {
    for (const client of clients) client.close();
    throw error;
  }
}

function onlyOne(all: readonly Served[], choice: DeviceChoice): Served {
  const found = all.filter(({ state }) => isChosen(state, choice));
  if (found.length === 1) return found[0]!;
  if (found.length === 0)
    throw notServed(
      choice,
      all.map(({ state }) => state),
    );
  const names = found.map(({ state }) => state.device);
  // Simulated devices have no address to choose them by.
  const bySocket = new Set(names).size < names.length || names.every((name) => name.startsWith("sim"));
  throw new OperatorError("which device is meant?", {
    why: `several are served: ${list(found.map(({ state }) => state))}`,
    remedy: bySocket ? "choose one with --socket PATH" : "choose one with --pci BDF",
    kind: "usage",
  });
}

/** Nothing that is served fits the choice. */
export function notServed(choice: DeviceChoice, all: readonly DeviceState[]): OperatorError {
  const { pci, socket } = choice;
  const what = pci ?? (socket === undefined ? "no device" : `socket ${socket}`);
  return new OperatorError(`${what} is ${pci === undefined && socket === undefined ? "" : "not "}served`, {
    why:
      all.length > 0
        ? `these are: ${list(all)}`
        : `no daemon of this user has a control socket in ${runtimeDirectory(choice["runtime-dir"])}`,
    remedy: all.length > 0 ? "choose one of these" : "vdpactl serve, or run as the user that serves",
    kind: "not-ready",
  });
}

const list = (states: readonly DeviceState[]) =>
  states
    .map(({ device, pid, meeting }) => `${device} (pid ${pid}${meeting.path ? `, ${meeting.path}` : ""})`)
    .join(", ");
