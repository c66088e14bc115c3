// `vdpactl migrate`, and what it tells as far as it is used.
import type { Device } from "./device.ts";
import { vdpactlJson } from "./vdpactl.ts";

/** What `prepare`, `cancel` and `status` tell. */
export interface MigrationRecord {
  queues: Array<{
    type: "rx" | "tx";
    mode: string;
    gap_us: number | null;
    relayed: number;
    mode_switches: number;
  }>;
}

export const migrate = async (verb: string, device: Device, ...args: string[]) =>
  (await vdpactlJson("migrate", verb, "--pci", device.bdf, ...args)) as MigrationRecord;

export const modes = ({ queues }: MigrationRecord) => queues.map(({ mode }) => mode);
