import type { DeviceQueueState, DeviceState } from "../../daemon/state/device-state.ts";

/**
 * Where a device is on the way into a migration or back:
 * - `no front-end` · `stopped`: the guest does not use the device
 * - `direct`: nothing is relayed · `prepared`: all rings are, on the operator's demand · `preparing`: some are not yet
 * - `logging`: the front-end has what the device writes logged, as for a migration
 * - `returning`: rings go back to the device as their positions allow it
 * - `relayed`: they do not, as the device is served with `--datapath relay`
 */
export type Phase =
  | "no front-end"
  | "stopped"
  | "direct"
  | "preparing"
  | "prepared"
  | "logging"
  | "returning"
  | "relayed";

/** What the verbs of `migrate` tell of a device. These are the keys of their JSON too (docs/cli.md). */
export interface MigrationRecord {
  readonly device: string;
  readonly pid: number;
  readonly phase: Phase;
  /** `migrate prepare` holds the rings in the relay. */
  readonly held: boolean;
  readonly logging: boolean;
  /** Whether every ring of a running device is the device's own affair. */
  readonly all_direct: boolean;
  readonly pages_logged: number;
  readonly log_failures: number;
  /** Entries that the relay has given back to the guest. */
  readonly relayed: number;
  readonly queues: readonly MigrationQueue[];
}

export interface MigrationQueue {
  readonly index: number;
  readonly type: "rx" | "tx" | "control";
  readonly mode: "direct" | "relay" | "own";
  readonly size: number;
  readonly enabled: boolean;
  /** What its last change of mode took. */
  readonly gap_us: number | null;
  readonly relayed: number;
  readonly pages_logged: number;
  readonly mode_switches: number;
}

export function migrationRecord(state: DeviceState): MigrationRecord {
  const rings = state.queues.filter(({ type }) => type !== "control");
  const queues = rings.map(queueRecord);
  const sum = (of: (queue: MigrationQueue) => number) =>
    queues.reduce((total, queue) => total + of(queue), 0);
  return {
    device: state.device,
    pid: state.pid,
    phase: phaseOf(state, rings),
    held: state.held,
    logging: state.logging,
    all_direct: rings.every(({ mode }) => mode === "direct"),
    pages_logged: sum((queue) => queue.pages_logged),
    log_failures: rings.reduce((total, { counters }) => total + (counters?.log_failures ?? 0), 0),
    relayed: sum((queue) => queue.relayed),
    queues,
  };
}

function queueRecord({
  index,
  type,
  mode,
  size,
  enabled,
  gap_us,
  counters,
}: DeviceQueueState): MigrationQueue {
  return {
    index,
    type,
    mode,
    size,
    enabled,
    gap_us,
    relayed: counters?.relay_completed ?? 0,
    pages_logged: counters?.pages_logged ?? 0,
    mode_switches: counters?.mode_switches ?? 0,
  };
}

function phaseOf({ state, held, logging, datapath }: DeviceState, rings: readonly DeviceQueueState[]): Phase {
  if (["starting", "waiting", "failed", "ended"].includes(state)) return "no front-end";
  if (state !== "running") return "stopped";
  if (logging) return "logging";
  const relayed = rings.filter(({ mode }) => mode === "relay").length;
  if (held) return relayed === rings.length ? "prepared" : "preparing";
  if (relayed === 0) return "direct";
  return datapath === "relay" ? "relayed" : "returning";
}
