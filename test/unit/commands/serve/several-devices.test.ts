import { expect, test } from "bun:test";
import { resolve } from "node:path";
import type { TableValues } from "../../../../src/cli/verb.ts";
import type { DEVICE_OPTIONS, DeviceOptions } from "../../../../src/commands/serve/device-options.ts";
import { severalDevices } from "../../../../src/commands/serve/several-devices.ts";
import { OperatorError } from "../../../../src/hw/operator-error.ts";
import { NOTHING } from "./options.ts";

const tables = (...given: Partial<DeviceOptions>[]): TableValues<typeof DEVICE_OPTIONS>[] =>
  given.map((options, i) => ({ where: `table ${i + 1}`, options: { ...NOTHING, ...options } }));

function refusal(...given: Partial<DeviceOptions>[]): string {
  try {
    severalDevices(tables(...given));
  } catch (error) {
    expect(error).toBeInstanceOf(OperatorError);
    expect((error as OperatorError).kind).toBe("usage");
    return (error as OperatorError).message;
  }
  throw new Error("nothing was refused");
}

const A = "0000:00:04.0";
const B = "0000:00:05.0";

test("each device is served as its own table says", () => {
  const devices = severalDevices(
    tables(
      { pci: A, socket: "/a", queues: 2, "socket-mode": 0o660 },
      { pci: B, fd: 4, datapath: "relay", "relay-threads": 2, force: true },
      { sim: true, socket: "/c", client: true, "features-mask": 1n, doorbell: "relay" },
    ),
  );
  expect(devices).toMatchObject([
    { name: A, device: { bdf: A }, meeting: { role: "server", path: "/a", mode: 0o660 }, queuePairs: 2 },
    { name: B, meeting: { role: "fd", fd: 4 }, datapath: "relay", relayThreads: 2, force: true },
    { name: "sim", meeting: { role: "client", path: "/c" }, featuresMask: 1n, doorbells: "relay" },
  ]);
});

test("several simulated devices are numbered", () => {
  const devices = severalDevices(
    tables({ sim: true, socket: "/a" }, { pci: A, socket: "/b" }, { sim: true, socket: "/c" }),
  );
  expect(devices.map(({ name }) => name)).toEqual(["sim0", A, "sim1"]);
});

test("of several devices, each gets the passed socket that is bound to its path", () => {
  const passed = [
    { fd: 7, name: "x.socket", path: import.meta.path },
    { fd: 8, name: "y.socket", path: undefined },
  ];
  const two = tables({ pci: A, socket: "/a" }, { pci: B, socket: import.meta.path });
  expect(severalDevices(two, passed).map(({ meeting }) => meeting)).toEqual([
    expect.not.objectContaining({ inherited: expect.anything() }),
    expect.objectContaining({ role: "server", inherited: 7, keep: true, store: false }),
  ]);
  const [only] = severalDevices(tables({ pci: A }), passed.slice(1));
  expect(only!.meeting).toEqual({ role: "fd", fd: 8 });
  expect(() => severalDevices(tables({ pci: A, socket: "/a" }, { pci: B }), passed)).toThrow(
    "table 2: where is the front-end?",
  );
});

test.each([
  ["a device", { pci: A, socket: "/a" }, { pci: A, socket: "/b" }, `${A} is taken`],
  ["a socket", { pci: A, socket: "/a" }, { pci: B, socket: "/a" }, "socket /a is taken"],
  [
    "a socket spelled in two ways",
    { pci: A, socket: "x" },
    { sim: true, socket: resolve("y/../x") },
    "is taken",
  ],
  ["a socket in both roles", { pci: A, socket: "/a" }, { pci: B, socket: "/a", client: true }, "is taken"],
  ["an fd", { pci: A, fd: 5 }, { pci: B, fd: 5 }, "fd 5 is taken"],
] as const)("%s that two want is refused with both places", (_name, one, two, what) => {
  const message = refusal(one, two);
  expect(message).toStartWith("table 2: ");
  expect(message).toContain(what);
  expect(message).toEndWith("table 1 has it");
});

test.each([
  ["without a device", { socket: "/a" }, "which device is to be served?"],
  ["without a socket", { pci: A }, "where is the front-end?"],
  [
    "with options that exclude each other",
    { pci: A, sim: true, socket: "/a" },
    "which device is to be served?",
  ],
  [
    "with faults of a real device",
    { pci: A, socket: "/a", "sim-fault": ["gone"] },
    "--sim-fault without --sim",
  ],
] as const)("a table %s is named", (_name, options, what) => {
  expect(refusal({ sim: true, socket: "/s" }, options)).toStartWith(`table 2: ${what}`);
});
