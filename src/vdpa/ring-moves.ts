import { messageOf, OperatorError } from "../hw/operator-error.ts";
import { awaitPosition } from "./await-position.ts";
import type { DeviceRun } from "./device-run.ts";
import { ringTraits } from "./direct-position.ts";
import { logQueue, type Ring } from "./ring.ts";
import type { DeviceLogging } from "./vdpa-device.ts";

/** The vring base of a ring that its device no longer touches. */
type BaseOf = (ring: Ring) => number;
const positionOf: BaseOf = (ring) => ring.position();

/** Takes rings from the running device and gives them back in another mode, at the position where they stood. */
export class RingMoves {
  constructor(private readonly run: DeviceRun) {}

  setLogging(logging: DeviceLogging | undefined): void {
    const before = this.run.factory.logging;
    this.#logRings(logging);
    if (!this.run.live) return;
    try {
      this.#relayWhatMust();
    } catch (error) {
      this.#logRings(before);
      throw error;
    }
  }

  holdInRelay(on: boolean): void {
    const { factory, transport } = this.run;
    if (on && !factory.canRelay) {
      throw new OperatorError(`the rings of ${transport.fn.name} can not be relayed`, {
        why: this.whyNoRelay(),
        remedy: factory.policy === "direct" ? "serve it with --datapath auto" : undefined,
        kind: "not-ready",
      });
    }
    const before = factory.held;
    this.#hold(on);
    if (!this.run.live) return;
    try {
      this.#relayWhatMust();
    } catch (error) {
      this.#hold(before);
      throw error;
    }
  }

  /** Why the factory can not relay, in words. */
  whyNoRelay(): string {
    return this.run.factory.policy === "direct"
      ? "relaying rings, which this would take, is switched off (--datapath direct)"
      : "rings of the legacy register layout can not be relayed";
  }

  /** The device can go on with a relayed ring by itself. Returns whether that worked; if not, the log says why. */
  takeBack(ring: Ring): boolean {
    try {
      this.#orStop(() => this.#move(ring));
      return true;
    } catch (error) {
      this.run.log.error(`queue ${ring.index} was not given back to the device: ${messageOf(error)}`, {
        event: "hand_back_failed",
        queue: ring.index,
        error: messageOf(error),
      });
      return false;
    }
  }

  #hold(on: boolean): void {
    this.run.factory.held = on;
    for (const ring of this.run.rings.values()) ring.hold(on);
  }

  #logRings(logging: DeviceLogging | undefined): void {
    const { factory, rings } = this.run;
    factory.logging = logging;
    for (const ring of rings.values()) ring.setLogging(factory.loggingOf(ring.index));
  }

  /** What the device writes itself can not be logged: the rings that are to be go on relayed. */
  #relayWhatMust(): void {
    const { factory, rings, memory, negotiated, resetsQueues } = this.run;
    const direct = [...rings.values()].filter(
      (ring) => ring.mode === "direct" && factory.mustRelay(ring.index),
    );
    if (direct.length === 0) return;
    // Once for all together: this thread does nothing else meanwhile, but the rings go on.
    const baseOf = awaitPosition(direct, memory, ringTraits(negotiated));
    this.#orStop(() => {
      if (!resetsQueues) this.#replayMeasured(baseOf);
      else for (const ring of direct) this.#move(ring, baseOf);
    });
  }

  /**
   * Has a ring leave its queue, which `use` may set up for itself meanwhile, and come back where it was. A device on
   * which that fails is stopped; an error of `use` alone is thrown once the ring is back.
   * @throws OperatorError also when a direct ring does not show where it is; it runs on then and nothing else happens
   */
  lend(ring: Ring, use: () => void): void {
    const { run } = this;
    const baseOf =
      ring.mode === "direct" ? awaitPosition([ring], run.memory, ringTraits(run.negotiated)) : positionOf;
    let failure: { error: unknown } | undefined;
    this.#orStop(() => {
      const base = this.#take(ring, baseOf);
      try {
        use();
      } catch (error) {
        failure = { error };
      }
      run.resetQueue(ring.index);
      this.#giveBack(ring, base);
    });
    if (failure) throw failure.error;
  }

  /** Takes a ring from the device and gives it back as the factory makes it now. */
  #move(ring: Ring, baseOf = positionOf): void {
    const { switches, rings, log } = this.run;
    const after = () => [...rings.values()].filter(({ index }) => index === ring.index);
    this.run.onChange();
    switches.measure([ring], after, () => this.#giveBack(ring, this.#take(ring, baseOf)));
    logQueue(log, after()[0]!.state());
  }

  #take(ring: Ring, baseOf: BaseOf): number {
    ring.cut();
    this.run.resetQueue(ring.index);
    ring.finish();
    return baseOf(ring);
  }

  #giveBack(ring: Ring, base: number): Ring {
    const moved = this.run.setUpRing({ ...ring.config, base });
    moved.connect();
    return moved;
  }

  #replayMeasured(baseOf: BaseOf): void {
    const rings = [...this.run.rings.values()];
    const after = () => [...this.run.rings.values()];
    this.run.switches.measure(rings, after, () => this.#replay(baseOf));
  }

  /** Where single queues can not be reset: the whole device is, and told everything anew. */
  #replay(baseOf: BaseOf): void {
    const rings = this.run.stop();
    this.run.start(
      this.run.chosen,
      rings.map((ring) => ({ ...ring.config, base: baseOf(ring) })),
    );
  }

  /** A device that was changed only in part can not go on. */
  #orStop(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.run.stop();
      throw error;
    }
  }
}
