// A migration that can not get on, for what is to happen to a guest while its memory is logged.
import { rmSync } from "node:fs";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { listenUnix } from "../../../src/hw/ffi/unix-socket.ts";
import type { Guest, MigrationInfo } from "./guest.ts";
import { until } from "./until.ts";

const PATH = "/tmp/nobody-reads.sock";

interface Sent extends MigrationInfo {
  ram?: { transferred: number };
}

/**
 * Migrates a guest to a socket that nobody reads from, does `meanwhile` once that has taken what it can, and cancels.
 * Resolves to how QEMU calls the end.
 */
export async function stuckMigration(guest: Guest, meanwhile: () => Promise<void>): Promise<string> {
  const query = async () => (await guest.qmp.execute("query-migrate")) as Sent;
  rmSync(PATH, { force: true });
  const listener = listenUnix(PATH);
  try {
    await guest.qmp.execute("migrate", { uri: `unix:${PATH}` });
    await until("memory to be on its way", async () => ((await query()).ram?.transferred ?? 0) > 0);
    await meanwhile();
    await guest.qmp.execute("migrate_cancel");
    const { status } = await until("the migration's end", async () => {
      const info = await query();
      return !["active", "cancelling", "device"].includes(info.status) && info;
    });
    return status;
  } finally {
    closeFd(listener);
    rmSync(PATH, { force: true });
  }
}
