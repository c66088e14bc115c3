import { OperatorError } from "../hw/operator-error.ts";
import type { DeviceRun } from "./device-run.ts";
import { OwnFrame } from "./own-frame.ts";
import { macText, rarpRequest } from "./rarp.ts";
import type { RingMoves } from "./ring-moves.ts";

/** The first pair's transmit queue. */
const QUEUE = 1;

/**
 * Has the device tell the network where the guest is now. The frame goes out on a transmit queue that is the guest's:
 * its ring leaves the queue, a ring of ours with this one frame takes its place, and the guest's goes on where it was.
 * @param mac six bytes, the guest's
 * @throws OperatorError when the frame was not sent; the guest's ring goes on all the same
 */
export function announce(run: DeviceRun, moves: RingMoves, mac: Uint8Array): void {
  const ring = run.rings.get(QUEUE);
  if (!run.live || !ring) {
    throw new OperatorError(`${macText(mac)} can not be announced`, {
      why: `queue ${QUEUE}, on which the frame would go out, does not run`,
    });
  }
  if (!run.resetsQueues || !run.factory.canRelay) {
    throw new OperatorError(`${macText(mac)} can not be announced`, {
      why: run.resetsQueues
        ? moves.whyNoRelay()
        : `${run.transport.fn.name} can not reset single queues (RING_RESET), so that none can be used meanwhile`,
    });
  }
  const frame = OwnFrame.create(run, ring.config.size, rarpRequest(mac));
  try {
    const started = performance.now();
    moves.lend(ring, () => frame.transmitOn(QUEUE));
    const ms = (performance.now() - started).toFixed(1);
    run.log.info(`announced ${macText(mac)} to the network; queue ${QUEUE} was away for ${ms} ms`, {
      event: "guest_announced",
      mac: macText(mac),
      queue: QUEUE,
    });
  } finally {
    frame.close();
  }
}
