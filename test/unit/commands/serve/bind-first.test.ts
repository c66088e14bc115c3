import { expect, test } from "bun:test";
import { bindFirst } from "../../../../src/commands/serve/bind-first.ts";
import type { DeviceOptions } from "../../../../src/commands/serve/device-options.ts";
import { OperatorError } from "../../../../src/hw/operator-error.ts";
import { checkUnused } from "../../../../src/hw/pci/bind-checks.ts";
import { findPciDevice } from "../../../../src/hw/pci/device.ts";
import { CollectedLog } from "../../../support/virtio-driver/collected-log.ts";
import { FakeHost } from "../../hw/pci/fake-host.ts";
import { NOTHING } from "./options.ts";

const A = "0000:00:04.0";
const B = "0000:00:05.0";

/** What binding says of devices with virtual functions. */
function refuseUsed(bdfs: readonly string[]): void {
  const host = new FakeHost();
  try {
    for (const bdf of bdfs) {
      host.device(bdf, { driver: "virtio-pci", files: { sriov_numvfs: "2\n" } });
      checkUnused([findPciDevice(bdf, host)], host);
    }
  } finally {
    host.remove();
  }
}

async function failure(options: Partial<DeviceOptions>, bind: (bdfs: readonly string[]) => void) {
  try {
    await bindFirst([{ ...NOTHING, pci: A, bind: true, ...options }], new CollectedLog(), async (bdfs) =>
      bind(bdfs),
    );
  } catch (error) {
    return error as OperatorError;
  }
  throw new Error("nothing was refused");
}

test.each([false, true])("a device in use is taken by another command only (--force: %p)", async (force) => {
  expect(await failure({ force }, refuseUsed)).toMatchObject({
    what: `${A} is in use`,
    why: expect.stringContaining("virtual functions"),
    remedy: `end that use first, or take the device from it with vdpactl bind --force ${A}`,
    kind: "refused",
  });
});

test("other refusals stay as they are", async () => {
  const remedy = `vdpactl bind ${A} ${B}`;
  const other = new OperatorError("it shares a group", { remedy, kind: "refused" });
  expect(
    await failure({}, () => {
      throw other;
    }),
  ).toBe(other);
});

test("of several devices, the log names what stands in the way of one, and the others are bound", async () => {
  const log = new CollectedLog();
  const bound: string[] = [];
  const devices = [A, B].map((pci) => ({ ...NOTHING, pci, bind: true }));
  await bindFirst(devices, log, async (bdfs) => {
    if (bdfs.includes(A)) refuseUsed(bdfs);
    bound.push(...bdfs);
  });
  expect(bound).toEqual([B]);
  expect(log.lines).toEqual([expect.stringContaining(`error: ${A}: ${A} is in use: `)]);
});
