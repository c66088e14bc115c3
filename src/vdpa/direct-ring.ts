import type { VirtioTransport } from "../hw/virtio/transport.ts";
import type { Doorbells } from "./doorbells.ts";
import type { Interrupts } from "./interrupts.ts";
import type { DoorbellKind, VringConfig } from "./vdpa-device.ts";

/** What the rings of a device share. */
export interface RingParts {
  readonly transport: VirtioTransport;
  readonly doorbells: Doorbells;
  readonly interrupts: Interrupts;
}

/** What one queue is doing, for those who look on. */
export interface QueueState {
  readonly index: number;
  readonly type: "rx" | "tx";
  /** Entries. */
  readonly size: number;
  readonly enabled: boolean;
  readonly mode: "direct";
  readonly doorbell: DoorbellKind;
  /** MSI-X vector. */
  readonly vector: number;
  /** Whether interrupts reach the guest without this process. */
  readonly call: "direct" | "relay" | "none";
}

/** A guest's ring on which the device works itself: its addresses are the guest's, its eventfds are wired through. */
export class DirectRing {
  #enabled: boolean;

  constructor(
    readonly parts: RingParts,
    private vring: VringConfig,
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

  /** Gives the ring to the device. */
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

  /** Wires the eventfds as the ring's state wants it. */
  connect(): void {
    this.parts.interrupts.connect(this.index, this.vring.callFd);
    this.#connectKick();
  }

  #connectKick(): void {
    const { doorbells, transport } = this.parts;
    if (this.#enabled) doorbells.connect(this.index, transport.doorbell(this.index), this.vring.kickFd);
    else doorbells.disconnect(this.index);
  }

  /** @param live whether the device runs, so that the change reaches it */
  setEnabled(enabled: boolean, live: boolean): void {
    this.#enabled = enabled;
    if (live) this.#connectKick();
  }

  /** The old eventfd may be closed afterwards. */
  setKick(kickFd: number, live: boolean): void {
    this.parts.doorbells.disconnect(this.index);
    this.vring = { ...this.vring, kickFd };
    if (live) this.#connectKick();
  }

  /** Likewise. */
  setCall(callFd: number, live: boolean): void {
    this.vring = { ...this.vring, callFd };
    if (live) this.parts.interrupts.connect(this.index, callFd);
  }

  state(): QueueState {
    const { doorbells, interrupts } = this.parts;
    return {
      index: this.index,
      type: this.index % 2 === 0 ? "rx" : "tx",
      size: this.vring.size,
      enabled: this.#enabled,
      mode: "direct",
      doorbell: doorbells.kind(this.index),
      vector: interrupts.vectorOf(this.index),
      call: this.vring.callFd < 0 ? "none" : interrupts.isShared(this.index) ? "relay" : "direct",
    };
  }
}

/** One line on how a queue's packets, kicks and interrupts travel. */
export function describeQueue(q: QueueState): string {
  const state = q.enabled ? "" : " disabled";
  return `queue ${q.index} ${q.type} size ${q.size} ${q.mode} doorbell ${q.doorbell} vector ${q.vector} call ${q.call}${state}`;
}
