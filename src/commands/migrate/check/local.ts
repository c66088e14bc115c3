import type { Log } from "../../../hw/log.ts";
import { OperatorError } from "../../../hw/operator-error.ts";
import { findPciDevice } from "../../../hw/pci/device.ts";
import { HOST } from "../../../hw/pci/host.ts";
import { pciNames } from "../../../hw/pci/pci-ids.ts";
import { type DeviceChoice, findDevice } from "../../control/daemons.ts";
import { describeDevice } from "../../probe/describe.ts";
import { vfioRegisterReader } from "../../probe/registers.ts";
import { type Needs, needsOfProbed, needsOfServed } from "./needs.ts";

/** What a guest on this side needs: of the device that is served, else of the one that `--pci` names. */
export async function localNeeds(choice: DeviceChoice, log: Log, signal: AbortSignal): Promise<Needs> {
  try {
    const { client, state } = await findDevice(choice, signal);
    client.close();
    if (state.failure) {
      throw new OperatorError(`what a guest needs of ${state.device} is not known`, {
        why: `it has failed: ${state.failure}`,
        remedy: "vdpactl stats",
        kind: "failed",
      });
    }
    return needsOfServed(state);
  } catch (error) {
    const notServed = error instanceof OperatorError && error.kind === "not-ready";
    if (!notServed || choice.pci === undefined || choice.socket !== undefined) throw error;
  }
  const sources = { host: HOST, lookUp: pciNames(HOST), readRegisters: vfioRegisterReader(log) };
  const record = describeDevice(findPciDevice(choice.pci, HOST), sources);
  if (record.type !== "net" || !record.features) {
    throw new OperatorError(`what a guest needs of ${choice.pci} is not known`, {
      why:
        record.type === "net" ? (record.note ?? "its features can not be read") : "it is no network device",
      remedy: "serve it, and check again",
      kind: "not-ready",
    });
  }
  return needsOfProbed({
    ...record,
    features: { ...record.features, names: [...record.features.names] },
    config: record.config && { ...record.config },
  });
}
