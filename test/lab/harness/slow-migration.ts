// A migration too slow to end, for what is to happen while a guest's writes are logged.
import { Guest, type GuestOptions, type MigrationInfo } from "./guest.ts";
import { incoming, type Station } from "./move.ts";
import { until } from "./until.ts";

const SLOW_BYTES_PER_SECOND = 256 * 1024;
/** QEMU's own default. */
const FAST_BYTES_PER_SECOND = 128 * 1024 * 1024;

/** Pages of guest memory, as query-migrate counts them. */
interface RamInfo extends MigrationInfo {
  ram?: { transferred: number };
}

/** Starts to move a guest, does `meanwhile` while it is under way, and cancels. Resolves to how QEMU calls the end. */
export async function slowMigration(
  source: Guest,
  options: GuestOptions,
  to: Station,
  meanwhile: () => Promise<void>,
): Promise<string> {
  const arriving = incoming(options, to);
  const destination = await Guest.boot(arriving);
  const query = async () => (await source.qmp.execute("query-migrate")) as RamInfo;
  await source.qmp.execute("migrate-set-parameters", { "max-bandwidth": SLOW_BYTES_PER_SECOND });
  await source.qmp.execute("migrate", { uri: arriving.incoming });
  await until("memory to be on its way", async () => ((await query()).ram?.transferred ?? 0) > 0);
  await meanwhile();
  await source.qmp.execute("migrate_cancel");
  const { status } = await until("the migration's end", async () => {
    const info = await query();
    return !["active", "cancelling", "device"].includes(info.status) && info;
  });
  // A QEMU whose guest does not come gives up.
  await destination.program.exited;
  await source.qmp.execute("migrate-set-parameters", { "max-bandwidth": FAST_BYTES_PER_SECOND });
  return status;
}
