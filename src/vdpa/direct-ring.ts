import type { Log } from "../hw/log.ts";
import { directPosition, type RingTraits } from "./direct-position.ts";
import type { QueueState, Ring, RingParts } from "./ring.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** A guest's ring on which the device works itself: its addresses are the guest's, its eventfds are wired through. */
export class DirectRing implements Ring {
  readonly mode = "direct";
  #enabled: boolean;
  #cutAt: number | undefined;

  constructor(
    readonly parts: RingParts,
    private vring: VringConfig,
    readonly traits: RingTraits,
    readonly log: Log,
  ) {
    this.#enabled = vring.enabled;
  }

  get index(): number {
    return this.vring.index;
  }

  get config(): VringConfig {
    return this.vring;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  get cutAt(): number | undefined {
    return this.#cutAt;
  }

  setUp(): void {
    const { transport, interrupts } = this.parts;
    transport.setupQueue(this.index, {
      size: this.vring.size,
      desc: this.vring.descGpa,
      driver: this.vring.driverGpa,
      device: this.vring.deviceGpa,
      vector: interrupts.vectorOf(this.index),
    });
    transport.enableQueue(this.index);
  }

  connect(): void {
    this.#cutAt = undefined;
    this.parts.interrupts.connect(this.index, this.vring.callFd);
    this.#connectKick();
  }

  #connectKick(): void {
    const { doorbells, transport } = this.parts;
    if (this.#enabled) doorbells.connect(this.index, transport.doorbell(this.index), this.vring.kickFd);
    else doorbells.disconnect(this.index);
  }

  setEnabled(enabled: boolean, live: boolean): void {
    this.#enabled = enabled;
    this.vring = { ...this.vring, enabled };
    if (live) this.#connectKick();
  }

  setKick(kickFd: number, live: boolean): void {
    const before = this.vring;
    this.parts.doorbells.disconnect(this.index);
    this.vring = { ...this.vring, kickFd };
    if (!live) return;
    try {
      this.#connectKick();
    } catch (error) {
      this.vring = before;
      this.#connectKick();
      throw error;
    }
  }

  setCall(callFd: number, live: boolean): void {
    // A refused eventfd is closed by whoever gave it.
    if (live) this.parts.interrupts.connect(this.index, callFd);
    this.vring = { ...this.vring, callFd };
  }

  hold(): void {}

  setLogging(): void {}

  /** The device has the guest's addresses, which no change of the table moves. */
  rebind(): void {}

  cut(): void {
    this.#cutAt ??= performance.now();
    this.parts.doorbells.disconnect(this.index);
  }

  kick(): void {
    const { doorbells, transport } = this.parts;
    if (this.#enabled) doorbells.ring(transport.doorbell(this.index));
  }

  /** The device itself has written everything to the guest's ring. */
  finish(): void {}

  position(): number {
    return directPosition(this.parts.memory, this.vring, this.traits, this.log);
  }

  state(): QueueState {
    const { doorbells, interrupts } = this.parts;
    return {
      index: this.index,
      type: this.index % 2 === 0 ? "rx" : "tx",
      size: this.vring.size,
      enabled: this.#enabled,
      mode: this.mode,
      doorbell: doorbells.kind(this.index),
      vector: interrupts.vectorOf(this.index),
      call: this.vring.callFd < 0 ? "none" : interrupts.isShared(this.index) ? "relay" : "direct",
    };
  }
}
