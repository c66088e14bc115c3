import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { MemoryCopy } from "../memory/memory-copy.ts";
import { type DeviceMove, moveRings } from "../vdpa/device-move.ts";
import type { FrontEndServer } from "../vhost-user/listener.ts";
import { lacking, unkept } from "../vhost-user/successor.ts";
import { Later } from "./later.ts";
import type { Target } from "./messages.ts";
import type { OpenedDevice } from "./opened-device.ts";
import type { ServedDevice } from "./served-device.ts";

export interface GuestMovesOptions {
  readonly served: ServedDevice;
  readonly server: FrontEndServer;
  readonly loop: EventLoop;
  readonly log: Log;
}

interface Move {
  readonly other: OpenedDevice;
  readonly copy: MemoryCopy;
  readonly later: Later;
}

/**
 * Moves the guest to other local devices. The memory is mapped there a piece at a time, between which this thread
 * serves the guest as always; only the switch itself takes the guest's rings away.
 */
export class GuestMoves {
  readonly #wakeFd = createEventfd();
  #move: Move | undefined;

  constructor(private readonly options: GuestMovesOptions) {
    options.loop.add(this.#wakeFd, EPOLLIN, () => this.#goOn());
  }

  /**
   * Begins to move the guest.
   * @returns a DeviceMove, or the error with which the guest stayed where it is
   * @throws OperatorError where it can not be begun; nothing was touched then
   */
  begin(target: Target): Later {
    const { served, log } = this.options;
    if (this.#move) {
      throw new OperatorError("the guest is being moved already", {
        why: `to ${this.#move.other.name}`,
        remedy: "vdpactl stats shows when it has got there",
      });
    }
    if (target.kind === "pci" && target.bdf === served.name) {
      throw new OperatorError(`the guest is on ${served.name} already`, { kind: "usage" });
    }
    const other = served.openOther(target);
    let copy: MemoryCopy;
    try {
      this.#check(other);
      copy = served.copyMemoryTo(other);
    } catch (error) {
      discard(other, undefined, log);
      throw error;
    }
    log.info(`the guest moves from ${served.name} to ${other.name}`, {
      event: "move_begun",
      from: served.name,
      to: other.name,
    });
    this.#move = { other, copy, later: new Later() };
    signalEventfd(this.#wakeFd);
    return this.#move.later;
  }

  /** Ends a move that is not done. */
  close(): void {
    if (this.#move)
      this.#fail(this.#move, new OperatorError("the guest was not moved", { why: "the service ends" }));
    this.options.loop.remove(this.#wakeFd);
    closeFd(this.#wakeFd);
  }

  #check(other: OpenedDevice): void {
    const { server } = this.options;
    const missing = server.session ? lacking(server.session, other.device) : [];
    if (missing.length === 0) return;
    throw new OperatorError(`the guest can not move to ${other.name}`, {
      why: missing.join("; "),
      remedy: "choose a device that offers what the guest uses: vdpactl probe",
      kind: "migration",
    });
  }

  /** Maps the next piece, or moves the rings. */
  #goOn(): void {
    drainEventfd(this.#wakeFd);
    const move = this.#move;
    if (!move) return;
    try {
      if (move.copy.lost) {
        throw new OperatorError("the guest was not moved", {
          why: "its memory changed or its front-end left while it was being prepared",
          remedy: "try again",
          kind: "migration",
        });
      }
      if (move.copy.step()) this.#switch(move);
      else signalEventfd(this.#wakeFd);
    } catch (error) {
      this.#fail(move, error);
    }
  }

  #switch(move: Move): void {
    const { served, server, log } = this.options;
    const { other, copy } = move;
    // The front-end may have gone on negotiating meanwhile.
    this.#check(other);
    const forgotten = server.session ? unkept(server.session, other.device) : [];
    let done: DeviceMove | undefined;
    server.moveTo(other.device, () => {
      done = moveRings(served.device, other.device);
      served.memory.adopt(copy);
    });
    this.#move = undefined;
    const result = done!;
    if (forgotten.length > 0) {
      log.warn(
        `${other.name} lacks features that the guest does not use but was offered: ${forgotten.join(", ")}`,
        { event: "move_features_lost", to: other.name, features: forgotten },
      );
    }
    const seconds = (result.gap_us / 1000).toFixed(1);
    log.info(`the guest is on ${result.to} after ${seconds} ms without ${result.from}`, {
      event: "move_done",
      from: result.from,
      to: result.to,
      gap_us: result.gap_us,
    });
    try {
      served.replaceBy(other);
    } catch (error) {
      log.error(`${result.from} was not given back in order: ${messageOf(error)}`, {
        event: "cleanup_failed",
        device: result.from,
        error: messageOf(error),
      });
    }
    move.later.settle(() => result);
  }

  #fail(move: Move, error: unknown): void {
    this.#move = undefined;
    discard(move.other, move.copy, this.options.log);
    this.options.log.warn(`not moved to ${move.other.name}: ${messageOf(error)}`, {
      event: "move_failed",
      to: move.other.name,
      error: messageOf(error),
    });
    move.later.settle(() => {
      throw error;
    });
  }
}

/** Gives back a device that nobody moved to. */
function discard(other: OpenedDevice, copy: MemoryCopy | undefined, log: Log): void {
  for (const step of [() => other.stop(), () => copy?.cancel(), () => other.close()]) {
    try {
      step();
    } catch (error) {
      log.error(`giving ${other.name} back: ${messageOf(error)}`, {
        event: "cleanup_failed",
        device: other.name,
        error: messageOf(error),
      });
    }
  }
}
