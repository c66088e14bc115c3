import type { RingPosition } from "../../../src/relay/relay.ts";
import { PackedWatch } from "../../../src/vdpa/packed-watch.ts";
import { positionOf } from "../../../src/vdpa/ring-base.ts";
import type { RingWatch } from "../../../src/vdpa/ring-watch.ts";
import { SplitWatch } from "../../../src/vdpa/split-watch.ts";
import { Model, type ModelOptions } from "../relay/model.ts";

export interface SwitchingOptions extends ModelOptions {
  /** The device completes in order, which alone shows what it holds at any time. */
  readonly ordered: boolean;
}

/** A model whose ring changes between the device and the relay while everybody is at work. */
export class SwitchingModel extends Model {
  readonly switches = { direct: 0, relay: 0, refused: 0 };
  #direct = false;
  #watch: RingWatch | undefined;

  constructor(readonly all: SwitchingOptions) {
    super(all);
  }

  get direct(): boolean {
    return this.#direct;
  }

  /** Whether the device has the ring now: it takes it where a fresh device begins, and with nothing in flight. */
  goDirect(): boolean {
    if (this.#direct || !this.relay.drainedAtBoundary) return false;
    // What the device writes itself is not logged.
    this.setLogging(false);
    this.relay.closeHoles();
    this.#direct = true;
    this.switches.direct++;
    const { descGpa: desc, driverGpa: driver, deviceGpa: device } = this.ring;
    this.startDevice({ desc, driver, device });
    this.#watch = this.#newWatch();
    return true;
  }

  /**
   * Whether the relay has the ring now: the device loses it where the ring shows for certain what it holds. Between
   * two looks driver and device go on.
   * @param meanwhile how many chains each of them deals with
   */
  goRelay(meanwhile = 0): boolean {
    if (!this.#direct) return false;
    if (this.#watch?.look()) {
      for (let i = 0; i < meanwhile; i++) {
        this.add(4 + 3 * i);
        if (i % 3 === 2) this.driver.publish();
        this.finish(i, i);
        if (i % 2 === 1) this.publish();
      }
    }
    const position = this.#shown();
    if (!position) {
      this.switches.refused++;
      return false;
    }
    this.#direct = false;
    this.switches.relay++;
    this.relay = this.newRelay();
    this.begin(position);
    return true;
  }

  /** A look at the ring, as they follow each other while a move is prepared. */
  look(): void {
    if (this.#direct) this.#watch?.look();
  }

  #shown(): RingPosition | undefined {
    if (!this.#watch?.look()) return undefined;
    const base = this.#watch.leave();
    return base === undefined ? undefined : positionOf(this.options.packed, base);
  }

  #newWatch(): RingWatch {
    const { size, descGpa, driverGpa, deviceGpa, eventIdx, indirect } = this.ring;
    const vring = {
      index: 1,
      size,
      descGpa,
      driverGpa,
      deviceGpa,
      base: 0,
      kickFd: -1,
      callFd: -1,
      enabled: true,
    };
    const { packed } = this.options;
    const traits = { packed, eventIdx, indirect, inOrder: false };
    if (!packed) return new SplitWatch(this.stage.memory, vring, traits);
    // A driver may be in the middle of its work for as long as it likes.
    return new PackedWatch(this.stage.memory, vring, traits, () => 0);
  }

  override forward(): number {
    return this.#direct ? 0 : super.forward();
  }

  override complete(): number {
    return this.#direct ? 0 : super.complete();
  }

  override notify(side: "guest" | "device", on: boolean): void {
    if (!this.#direct) super.notify(side, on);
  }

  override finish(pick: number, amount: number, onlyWrite = false): void {
    super.finish(this.all.ordered ? 0 : pick, amount, onlyWrite);
  }

  override restart(otherRelay: boolean): void {
    if (this.#direct) this.goRelay();
    else super.restart(otherRelay);
  }

  override setLogging(on: boolean): void {
    if (this.#direct && on && !this.goRelay()) return;
    super.setLogging(on);
  }
}
