import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { VirtioNetDevice } from "./net-device.ts";
import type { SuspendedGuest } from "./net-device-state.ts";
import type { RingMode } from "./ring.ts";

/** What a move has done, as JSON tells it. */
export interface DeviceMove {
  /** BDFs, or what a simulated device is called. */
  readonly from: string;
  readonly to: string;
  /** Microseconds from the first ring's cut to the last one's connection; 0 where nothing ran. */
  readonly gap_us: number;
  readonly queues: readonly {
    readonly index: number;
    /** Vring base at which the queue went on. */
    readonly base: number;
    readonly mode: RingMode;
  }[];
}

/**
 * Brings the rings of one device to another one, which has the guest's memory mapped and nothing else to do. All rings
 * are relayed first, as a relay alone knows exactly where it stands; on the other device those that can be are direct
 * again, at once or later.
 * @throws OperatorError when they could not be brought; the first device runs on, unless the error says that it does not
 */
export function moveRings(from: VirtioNetDevice, to: VirtioNetDevice): DeviceMove {
  const [fromName, toName] = [from.transport.fn.name, to.transport.fn.name];
  to.setLogging(from.logging);
  if (from.held) to.holdInRelay(true);
  if (!from.running) return { from: fromName, to: toName, gap_us: 0, queues: [] };
  const { held } = from;
  from.holdInRelay(true);
  let suspended: SuspendedGuest | undefined;
  try {
    const started = performance.now();
    suspended = from.suspend();
    to.configure(suspended.features, suspended.vrings);
    const gap_us = Math.round(1000 * (performance.now() - started));
    const modes = new Map(to.queues().map(({ index, mode }) => [index, mode]));
    const queues = suspended.vrings.map(({ index, base }) => ({ index, base, mode: modes.get(index)! }));
    return { from: fromName, to: toName, gap_us, queues };
  } catch (error) {
    const what = `the guest could not be moved to ${toName}`;
    const why = messageOf(error);
    goBack(from, suspended, held, { what, why });
    throw new OperatorError(what, {
      why: `${why}; it stays on ${fromName}`,
      kind: "migration",
      cause: error,
    });
  }
}

function goBack(
  from: VirtioNetDevice,
  suspended: SuspendedGuest | undefined,
  held: boolean,
  { what, why }: { what: string; why: string },
): void {
  try {
    from.holdInRelay(held);
    if (suspended) from.configure(suspended.features, suspended.vrings);
    else if (!from.running) throw new Error("it could not be stopped in an orderly way");
  } catch (error) {
    throw new OperatorError(what, {
      why: `${why}; nor does it run on ${from.transport.fn.name} any more: ${messageOf(error)}`,
      remedy: "let the guest's driver reset the device",
      cause: error,
    });
  }
}
