import { DmaBuffer } from "../hw/dma-buffer.ts";
import type { EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd, signalEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { alignUp } from "../hw/virtio/ring-layout.ts";
import { allocateIova } from "../memory/iova-allocator.ts";
import { relayBytes } from "../relay/device-memory.ts";
import type { RelayLogging, RingPosition } from "../relay/relay.ts";
import type { Counters } from "./counters.ts";
import { guestRing, type RingTraits } from "./direct-position.ts";
import type { Pump, PumpedRing } from "./pump.ts";
import type { RelayThreads } from "./relay-threads/relay-threads.ts";
import type { QueueState, Ring, RingParts } from "./ring.ts";
import { baseOf } from "./ring-base.ts";
import { RingPump } from "./ring-pump.ts";
import type { VringConfig } from "./vdpa-device.ts";

export interface RelayParts extends RingParts {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly counters: Counters;
  /** Threads that move entries; this thread does where there are none. */
  readonly relayThreads?: RelayThreads | undefined;
}

/**
 * A guest's ring whose entries this process moves to and from a ring of ours, on which the device works. This object
 * drives the device and owns what the two rings need; the pump moves the entries.
 */
export class RelayedRing implements Ring {
  readonly mode = "relay";
  readonly #pump: Pump;
  readonly #buffer: DmaBuffer;
  /** The device's interrupts come here; signalled by this object itself, it means "go on". */
  readonly #interruptFd = createEventfd();
  /** The device works on the ring. */
  #connected = false;
  #finished = false;
  #base: number | undefined;
  #handsBack = false;
  #handBackAllowed = false;
  #held = false;
  #logged = false;

  /** @throws OperatorError where there is no room for our ring, or the guest's is not in its memory */
  constructor(
    readonly parts: RelayParts,
    private vring: VringConfig,
    readonly traits: RingTraits,
    readonly start: RingPosition,
  ) {
    const { memory, transport } = parts;
    const { dma } = transport.fn;
    let buffer: DmaBuffer | undefined;
    try {
      const size = alignUp(relayBytes(traits.packed, vring.size), dma.pageSize);
      const iova = allocateIova(dma, memory, size);
      buffer = DmaBuffer.create(dma, iova, size, "vdpactl-relay");
      this.#pump = this.#createPump(buffer);
      memory.reserve(iova, iova + BigInt(size) - 1n);
    } catch (error) {
      buffer?.close();
      closeFd(this.#interruptFd);
      throw error;
    }
    this.#buffer = buffer;
  }

  #createPump(buffer: DmaBuffer): Pump {
    const { parts, vring, traits } = this;
    const { index, enabled, kickFd, callFd } = vring;
    const pumped: PumpedRing = {
      index,
      packed: traits.packed,
      ring: guestRing(vring, traits),
      enabled,
      kickFd,
      callFd,
      buffer,
      interruptFd: this.#interruptFd,
    };
    if (parts.relayThreads) return parts.relayThreads.createPump(pumped, parts);
    const { loop, log, memory, doorbells } = parts;
    const counters = parts.counters.queue(index);
    return new RingPump(pumped, {
      loop,
      log,
      memory,
      counters,
      ringDoorbell: (bell) => doorbells.ring(bell),
    });
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

  setUp(): void {
    const { transport, interrupts } = this.parts;
    this.#pump.start(this.start);
    transport.setupQueue(this.index, {
      size: this.vring.size,
      ...this.#pump.deviceQueue,
      vector: interrupts.vectorOf(this.index),
    });
    transport.enableQueue(this.index);
  }

  connect(): void {
    this.#connected = true;
    // Signals our eventfd once, so that the pump also looks for what was completed unheard.
    this.parts.interrupts.connect(this.index, this.#interruptFd);
    this.#pump.connect(this.parts.transport.doorbell(this.index));
  }

  // A pump acts on these three while the device works on the ring, which it knows from `connect` and `cut`.

  setEnabled(enabled: boolean): void {
    this.vring = { ...this.vring, enabled };
    this.#pump.setEnabled(enabled);
  }

  setKick(kickFd: number): void {
    this.vring = { ...this.vring, kickFd };
    this.#pump.setKick(kickFd);
  }

  setCall(callFd: number): void {
    this.vring = { ...this.vring, callFd };
    this.#pump.setCall(callFd);
  }

  /**
   * Has `take` called when the device can work on the guest's ring itself: it resets the queue, finishes this ring
   * and sets another up.
   */
  handBackTo(take: () => void): void {
    this.#pump.handBackTo(take);
    this.#handsBack = true;
    this.#allowHandBack();
  }

  hold(on: boolean): void {
    this.#held = on;
    this.#allowHandBack();
    this.#goOn();
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.#pump.setLogging(logging);
    this.#logged = logging !== undefined;
    this.#allowHandBack();
    this.#goOn();
  }

  #allowHandBack(): void {
    const allowed = this.#handsBack && !this.#held && !this.#logged;
    if (allowed === this.#handBackAllowed) return;
    this.#pump.allowHandBack(allowed);
    this.#handBackAllowed = allowed;
  }

  /** The ring may be where it can be handed back already; or the feed was held back. */
  #goOn(): void {
    if (this.#connected) signalEventfd(this.#interruptFd);
  }

  rebind(): void {
    this.#pump.rebind();
  }

  cut(): void {
    this.#connected = false;
    this.#pump.cut();
  }

  kick(): void {
    const { doorbells, transport } = this.parts;
    if (this.#connected && this.enabled) doorbells.ring(transport.doorbell(this.index));
  }

  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.cut();
    const position = this.#pump.finish();
    // What a lost thread may still use stays until the process ends.
    if (!position) return;
    this.#base = baseOf(this.traits.packed, position);
    closeFd(this.#interruptFd);
    // Only now, as the device has forgotten the ring.
    this.#buffer.close();
    this.parts.memory.release(this.#buffer.iova);
  }

  position(): number {
    if (this.#base !== undefined) return this.#base;
    if (!this.#finished) throw new Error(`queue ${this.index} is not finished`);
    throw new OperatorError(`queue ${this.index} has lost its position`, {
      why: "the thread that relayed it does not answer",
    });
  }

  state(): QueueState {
    const { relayThreads, interrupts } = this.parts;
    const { kickFd, callFd } = this.vring;
    return {
      index: this.index,
      type: this.index % 2 === 0 ? "rx" : "tx",
      size: this.vring.size,
      enabled: this.enabled,
      mode: this.mode,
      doorbell: this.#connected && this.enabled && kickFd >= 0 ? "relay" : "none",
      vector: interrupts.vectorOf(this.index),
      call: callFd < 0 ? "none" : "relay",
      ...(relayThreads && { thread: relayThreads.of(this.index).number }),
    };
  }
}
