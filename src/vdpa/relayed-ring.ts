import { DmaBuffer } from "../hw/dma-buffer.ts";
import { EPOLLET, EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd, signalPeerEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import type { Doorbell } from "../hw/pci-function.ts";
import { alignUp } from "../hw/virtio/ring-layout.ts";
import { allocateIova } from "../memory/iova-allocator.ts";
import { createRelay } from "../relay/create-relay.ts";
import { relayBytes } from "../relay/device-memory.ts";
import type { RelayLogging, RingPosition, RingRelay } from "../relay/relay.ts";
import type { Counters, QueueCounters } from "./counters.ts";
import { guestRing, type RingTraits } from "./direct-position.ts";
import { HandBack } from "./hand-back.ts";
import type { QueueState, Ring, RingParts } from "./ring.ts";
import { baseOf } from "./ring-base.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Rounds after which a busy ring lets the others have their turn. */
const ROUNDS = 16;

export interface RelayParts extends RingParts {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly counters: Counters;
}

/** A guest's ring whose entries this process moves to and from a ring of ours, on which the device works. */
export class RelayedRing implements Ring {
  readonly mode = "relay";
  readonly #relay: RingRelay;
  readonly #buffer: DmaBuffer;
  readonly #counters: QueueCounters;
  /** The device's interrupts come here; signalled by this object itself, it means "go on". */
  readonly #interruptFd = createEventfd();
  /** The kick eventfd that is watched, -1 for none. */
  #watched = -1;
  /** Known while the device works on the ring. */
  #doorbell: Doorbell | undefined;
  #faultReported = false;
  /** Used lengths beyond their chains that were counted. */
  #overlong = 0;
  #base: number | undefined;
  #handBack: HandBack | undefined;
  #held = false;
  #logged = false;

  /** @throws OperatorError where there is no room for our ring, or the guest's is not in its memory */
  constructor(
    readonly parts: RelayParts,
    private vring: VringConfig,
    readonly traits: RingTraits,
    readonly start: RingPosition,
  ) {
    const { memory, transport, loop } = parts;
    this.#counters = parts.counters.queue(vring.index);
    const { dma } = transport.fn;
    let buffer: DmaBuffer | undefined;
    try {
      const size = alignUp(relayBytes(traits.packed, vring.size), dma.pageSize);
      const iova = allocateIova(dma, memory, size);
      buffer = DmaBuffer.create(dma, iova, size, "vdpactl-relay");
      const ring = guestRing(vring, traits);
      this.#relay = createRelay(traits.packed, { ring, memory, buffer, offset: 0 });
      memory.reserve(iova, iova + BigInt(size) - 1n);
    } catch (error) {
      buffer?.close();
      closeFd(this.#interruptFd);
      throw error;
    }
    this.#buffer = buffer;
    loop.add(this.#interruptFd, EPOLLIN, () => this.#interrupted());
  }

  get index(): number {
    return this.vring.index;
  }

  get config(): VringConfig {
    return this.vring;
  }

  get enabled(): boolean {
    return this.vring.enabled;
  }

  /** Chains that the device holds. */
  get outstanding(): number {
    return this.#relay.outstanding;
  }

  setUp(): void {
    const { transport, interrupts } = this.parts;
    this.#relay.start(this.start);
    transport.setupQueue(this.index, {
      size: this.vring.size,
      ...this.#relay.deviceQueue,
      vector: interrupts.vectorOf(this.index),
    });
    transport.enableQueue(this.index);
  }

  connect(): void {
    this.#doorbell = this.parts.transport.doorbell(this.index);
    // Signals our eventfd once, so that `#interrupted` also looks for what was completed unheard.
    this.parts.interrupts.connect(this.index, this.#interruptFd);
    this.#complete(true);
    this.#watchKicks();
  }

  setEnabled(enabled: boolean, live: boolean): void {
    this.vring = { ...this.vring, enabled };
    if (live) this.#watchKicks();
  }

  setKick(kickFd: number, live: boolean): void {
    this.#unwatch();
    this.vring = { ...this.vring, kickFd };
    if (live) this.#watchKicks();
  }

  setCall(callFd: number, live: boolean): void {
    this.vring = { ...this.vring, callFd };
    // An interrupt may have been missed.
    if (live) this.#complete(true);
  }

  /**
   * Has `take` called when the device can work on the guest's ring itself: it resets the queue, finishes this ring
   * and sets another up.
   */
  handBackTo(take: () => void): void {
    this.#handBack = new HandBack(
      this.#relay,
      this.vring.size,
      this.parts.loop,
      () => this.#forward(),
      () => take(),
    );
    this.#allowHandBack();
  }

  hold(on: boolean): void {
    this.#held = on;
    this.#allowHandBack();
    if (this.#doorbell) signalEventfd(this.#interruptFd);
  }

  #allowHandBack(): void {
    this.#handBack?.allow(!this.#held && !this.#logged);
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.#relay.setLogging(logging);
    this.#logged = logging !== undefined;
    this.#allowHandBack();
    // The ring may be there already; or the feed was held back.
    if (this.#doorbell) signalEventfd(this.#interruptFd);
  }

  rebind(): void {
    this.#relay.rebind();
    this.#reportFault();
  }

  cut(): void {
    this.#unwatch();
    this.#doorbell = undefined;
  }

  kick(): void {
    if (this.#doorbell && this.enabled) this.parts.doorbells.ring(this.#doorbell);
  }

  finish(): void {
    if (this.#base !== undefined) return;
    this.cut();
    this.#handBack?.close();
    this.#handBack = undefined;
    this.#takeCompleted(false);
    this.#base = baseOf(this.traits.packed, this.#relay.closeHoles());
    this.#reportFault();
    this.parts.loop.remove(this.#interruptFd);
    closeFd(this.#interruptFd);
    // Only now, as the device has forgotten the ring.
    this.#buffer.close();
    this.parts.memory.release(this.#buffer.iova);
  }

  position(): number {
    if (this.#base === undefined) throw new Error(`queue ${this.index} is not finished`);
    return this.#base;
  }

  state(): QueueState {
    return {
      index: this.index,
      type: this.index % 2 === 0 ? "rx" : "tx",
      size: this.vring.size,
      enabled: this.enabled,
      mode: this.mode,
      doorbell: this.#watched < 0 ? "none" : "relay",
      vector: this.parts.interrupts.vectorOf(this.index),
      call: this.vring.callFd < 0 ? "none" : "relay",
    };
  }

  /** Follows the guest's kicks while the ring is enabled, and forwards once: a kick may have been lost before. */
  #watchKicks(): void {
    this.#unwatch();
    if (!this.enabled) return;
    const { kickFd } = this.vring;
    if (kickFd >= 0) {
      // Edge-triggered and never read: the eventfd may be a blocking one, and stays the guest's.
      this.parts.loop.add(kickFd, EPOLLIN | EPOLLET, () => {
        this.#counters.add("kicks_relayed");
        this.#forward();
      });
      this.#watched = kickFd;
    }
    this.#forward();
    if (this.#doorbell) this.parts.doorbells.ring(this.#doorbell);
  }

  #unwatch(): void {
    if (this.#watched >= 0) this.parts.loop.remove(this.#watched);
    this.#watched = -1;
  }

  /** Gives the guest's new entries to the device until there are none, or the others must have their turn. */
  #forward(): void {
    if (!this.#doorbell || !this.enabled) return;
    let more = true;
    for (let round = 0; more && round < ROUNDS; round++) {
      const moved = this.#relay.forward();
      if (moved > 0) this.#counters.add("relay_forwarded", moved);
      if (this.#relay.kickWanted()) this.parts.doorbells.ring(this.#doorbell);
      // A ring that waits for room goes on once the device has completed something.
      more = !this.#relay.starved && this.#relay.setGuestKicks(true);
    }
    if (more && !this.#relay.fault) signalEventfd(this.#interruptFd);
    this.#reportFault();
    // Last, as it may end this ring.
    this.#handBack?.check();
  }

  #interrupted(): void {
    drainEventfd(this.#interruptFd);
    this.#complete(false);
    this.#forward();
  }

  /** @param notify calls the guest whether it asks for it or not */
  #complete(notify: boolean): void {
    let called = notify;
    let more = true;
    for (let round = 0; more && round < ROUNDS; round++) {
      this.#takeCompleted(called);
      called = false;
      more = !this.#relay.fault && this.#relay.setDeviceCalls(true);
    }
    if (more) signalEventfd(this.#interruptFd);
    this.#reportFault();
  }

  #takeCompleted(notify: boolean): void {
    const moved = this.#relay.complete();
    if (moved > 0) this.#counters.add("relay_completed", moved);
    if (this.#relay.counts.overlongUsed > this.#overlong) this.#reportOverlong();
    if ((this.#relay.callWanted() || notify) && this.vring.callFd >= 0) {
      this.#counters.add("calls_relayed");
      signalPeerEventfd(this.vring.callFd);
    }
  }

  /** The guest must not see such a length, but what the device wrote lies in its buffers: no reason to stop. */
  #reportOverlong(): void {
    const { overlongUsed } = this.#relay.counts;
    this.#counters.add("anomalies", overlongUsed - this.#overlong);
    if (this.#overlong === 0) {
      this.parts.log.warn(
        `queue ${this.index}: the device reports more bytes than a buffer has; such lengths are cut and counted`,
      );
    }
    this.#overlong = overlongUsed;
  }

  #reportFault(): void {
    const { fault } = this.#relay;
    if (!fault || this.#faultReported) return;
    this.#faultReported = true;
    this.#counters.add("ring_faults");
    this.parts.log.error(
      `queue ${this.index} stops after a fault of the ${fault.side}'s in its ring: ${fault.message}`,
    );
  }
}
