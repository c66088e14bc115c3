import type { DeviceRequest } from "./device-request.ts";

/** What is served, as far as it matters for what is wanted instead. */
export interface ServedRequest {
  readonly name: string;
  /** As it was asked for. */
  readonly configured: DeviceRequest;
}

export interface DeviceChanges<S> {
  readonly added: readonly DeviceRequest[];
  readonly removed: readonly S[];
  /** Wanted with other settings than it is served with. */
  readonly changed: readonly { readonly service: S; readonly wanted: DeviceRequest }[];
}

/**
 * Compares what is served with what is wanted. A device is the same one while its PCI address is, that of the file or the
 * one that its guest has been moved to, or its socket.
 */
export function deviceChanges<S extends ServedRequest>(
  served: readonly S[],
  wanted: readonly DeviceRequest[],
): DeviceChanges<S> {
  const pairs = wanted.map((request) => ({ wanted: request, service: served.find(isSame(request)) }));
  const kept = new Set(pairs.map(({ service }) => service));
  return {
    added: pairs.flatMap(({ wanted, service }) => (service ? [] : [wanted])),
    removed: served.filter((service) => !kept.has(service)),
    changed: pairs.flatMap(({ wanted, service }) =>
      service && !isServedAs(service, wanted) ? [{ service, wanted }] : [],
    ),
  };
}

const placeOf = ({ meeting }: DeviceRequest) =>
  meeting.role === "fd" ? `fd ${meeting.fd}` : `socket ${meeting.path}`;

const isSame = (wanted: DeviceRequest) => (service: ServedRequest) => {
  const { configured, name } = service;
  if (placeOf(configured) === placeOf(wanted)) return true;
  return "bdf" in wanted.device && [configured.name, name].includes(wanted.device.bdf);
};

/** Simulated devices are numbered anew in each file, and a moved guest's device may be named by where it is now. */
function isServedAs({ configured, name }: ServedRequest, wanted: DeviceRequest): boolean {
  const alike = "sim" in wanted.device || wanted.name === name;
  const device = "sim" in wanted.device ? configured.device : wanted.device;
  return (
    Bun.deepEquals(wanted, configured) ||
    (alike && Bun.deepEquals(wanted, { ...configured, name: wanted.name, device }))
  );
}
