import { expect, test } from "bun:test";
import { deviceChanges, type ServedRequest } from "../../../src/daemon/device-changes.ts";
import type { DeviceRequest } from "../../../src/daemon/device-request.ts";

const A = "0000:00:04.0";
const B = "0000:00:05.0";

function request(bdf: string | undefined, path: string, more: Partial<DeviceRequest> = {}): DeviceRequest {
  return {
    name: bdf ?? "sim",
    device: bdf === undefined ? { sim: {}, switched: { faults: {}, on: true } } : { bdf },
    meeting: { role: "server", path },
    queuePairs: undefined,
    featuresMask: ~0n,
    doorbells: "auto",
    datapath: "auto",
    relayThreads: 0,
    force: false,
    trace: false,
    ...more,
  };
}

const served = (configured: DeviceRequest, name = configured.name): ServedRequest => ({ configured, name });

test("what is served and wanted alike is no change", () => {
  const now = [served(request(A, "/a")), served(request(B, "/b"))];
  const wanted = [request(B, "/b"), request(A, "/a")];
  expect(deviceChanges(now, wanted)).toEqual({ added: [], removed: [], changed: [] });
});

test("one comes, one goes", () => {
  const [stays, goes] = [served(request(A, "/a")), served(request(B, "/b"))];
  const added = request("0000:00:06.0", "/c");
  const changes = deviceChanges([stays, goes], [request(A, "/a"), added]);
  expect(changes).toEqual({ added: [added], removed: [goes], changed: [] });
});

test("another socket or another option changes a device", () => {
  const [first, second] = [served(request(A, "/a")), served(request(B, "/b"))];
  const [moved, relayed] = [request(A, "/elsewhere"), request(B, "/b", { datapath: "relay" })];
  expect(deviceChanges([first, second], [moved, relayed])).toEqual({
    added: [],
    removed: [],
    changed: [
      { service: first, wanted: moved },
      { service: second, wanted: relayed },
    ],
  });
});

test("a device that was moved is the same under both addresses", () => {
  const moved = served(request(A, "/a"), B);
  for (const bdf of [A, B]) {
    expect(deviceChanges([moved], [request(bdf, "/a")])).toEqual({ added: [], removed: [], changed: [] });
  }
  const other = request("0000:00:06.0", "/a");
  expect(deviceChanges([moved], [other]).changed).toEqual([{ service: moved, wanted: other }]);
});

test("simulated devices are known by their sockets, whatever their numbers", () => {
  const now = [
    served(request(undefined, "/a", { name: "sim0" })),
    served(request(undefined, "/b", { name: "sim1" })),
  ];
  const wanted = [request(undefined, "/b", { name: "sim0" })];
  expect(deviceChanges(now, wanted)).toEqual({ added: [], removed: [now[0]!], changed: [] });
  const faulty = { sim: {}, switched: { faults: { usedTwice: true }, on: true } } as DeviceRequest["device"];
  expect(deviceChanges(now, [{ ...wanted[0]!, device: faulty }]).changed.length).toBe(1);
});
