import { messageOf, OperatorError } from "../hw/operator-error.ts";
import { VIRTIO_CONFIG_S_NEEDS_RESET } from "../hw/virtio/status.ts";
import type { DeviceRun } from "./device-run.ts";
import { ringTraits } from "./direct-position.ts";
import { logQueue, type Ring } from "./ring.ts";
import { watchBeforeStop } from "./stop-position.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Starts, stops and switches single rings of a device, the others of which run on where it can do that. */
export class SingleRings {
  /** The vring base of a ring that the device no longer touches. */
  #baseOf = (ring: Ring): number => ring.position();

  constructor(private readonly run: DeviceRun) {}

  start(vring: VringConfig): void {
    if (!this.run.live) {
      throw new OperatorError(`queue ${vring.index} can not be started alone`, {
        why: "the device was reset to stop one of its queues, as it can not reset single ones",
        remedy: "let the guest's driver reset the device",
      });
    }
    const ring = this.run.setUpRing(vring);
    this.run.control.setEnabled([[vring.index, vring.enabled]]);
    try {
      ring.connect();
    } catch (error) {
      this.stop(vring.index);
      throw error;
    }
    logQueue(this.run.log, ring.state());
  }

  stop(index: number): number {
    const { rings, live } = this.run;
    const ring = rings.get(index);
    if (!ring) return 0;
    rings.delete(index);
    try {
      ring.cut();
      if (live) this.#stopOnDevice(ring);
    } finally {
      ring.finish();
    }
    return this.#baseOf(ring);
  }

  #stopOnDevice(ring: Ring): void {
    const { index } = ring;
    const { rings, memory, negotiated, resetsQueues } = this.run;
    // A reset of the whole device stops them all.
    const stopping = resetsQueues ? [ring] : [ring, ...rings.values()];
    this.#baseOf = watchBeforeStop(stopping, memory, ringTraits(negotiated));
    if (this.run.rings.size > 0) {
      if (this.#stopAlone(index)) return;
      // The others stay interrupted.
      this.run.log.info(`queue ${index} was stopped by a reset of the whole device`, {
        event: "queue_stopped_by_reset",
        queue: index,
      });
    }
    this.run.halt();
  }

  /** Whether one queue could be stopped while the others go on. */
  #stopAlone(index: number): boolean {
    if (!this.run.resetsQueues) return false;
    // It processes nothing any more, control commands least of all.
    if (this.run.transport.status() & VIRTIO_CONFIG_S_NEEDS_RESET) return false;
    try {
      this.run.control.setEnabled([[index, false]]);
      this.run.resetQueue(index);
      return true;
    } catch (error) {
      this.run.log.error(`queue ${index} can not be stopped alone: ${messageOf(error)}`, {
        event: "queue_stop_failed",
        queue: index,
        error: messageOf(error),
      });
      return false;
    }
  }

  setEnabled(index: number, enabled: boolean): void {
    const { rings, live, control } = this.run;
    const ring = rings.get(index);
    if (!ring || ring.enabled === enabled) return;
    // Steering changes before a ring's doorbell opens and after it closed.
    if (!enabled) ring.setEnabled(false, live);
    if (live) control.setEnabled([[index, enabled]]);
    if (enabled) ring.setEnabled(true, live);
    logQueue(this.run.log, ring.state());
  }
}
