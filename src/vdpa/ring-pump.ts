import { EPOLLET, EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { signalEventfd, signalPeerEventfd } from "../hw/ffi/eventfd.ts";
import type { Log } from "../hw/log.ts";
import type { Doorbell } from "../hw/pci-function.ts";
import type { DirtyLog } from "../memory/dirty-log.ts";
import type { GuestMap } from "../memory/guest-map.ts";
import { createRelay } from "../relay/create-relay.ts";
import type { RelayLogging, RingPosition, RingRelay } from "../relay/relay.ts";
import type { QueueCounters } from "./counters.ts";
import { HandBack } from "./hand-back.ts";
import type { Pump, PumpedRing } from "./pump.ts";

/** Rounds after which a busy ring lets the others have their turn. */
const ROUNDS = 16;

/** The thread in which a ring is pumped. */
export interface PumpPlace {
  readonly loop: EventLoop;
  readonly log: Log;
  readonly memory: GuestMap;
  readonly counters: QueueCounters;
  readonly ringDoorbell: (doorbell: Doorbell) => void;
}

/** Moves a ring's entries in the thread that calls. */
export class RingPump implements Pump {
  readonly #relay: RingRelay;
  readonly #counters: QueueCounters;
  readonly #interruptFd: number;
  #enabled: boolean;
  #kickFd: number;
  #callFd: number;
  /** The kick eventfd that is watched, -1 for none. */
  #watched = -1;
  /** Known while the device works on the ring. */
  #doorbell: Doorbell | undefined;
  #faultReported = false;
  #log: DirtyLog | undefined;
  /** Used lengths beyond their chains that were counted. */
  #overlong = 0;
  #handBack: HandBack | undefined;

  /** @throws OperatorError where the guest's ring is not in its memory */
  constructor(
    readonly pumped: PumpedRing,
    readonly place: PumpPlace,
  ) {
    const { packed, ring, buffer, interruptFd } = pumped;
    this.#counters = place.counters;
    this.#interruptFd = interruptFd;
    this.#enabled = pumped.enabled;
    this.#kickFd = pumped.kickFd;
    this.#callFd = pumped.callFd;
    this.#relay = createRelay(packed, { ring, memory: place.memory, buffer, offset: 0 });
    // Edge-triggered and never read, which spares a system call and an object for each interrupt.
    place.loop.add(interruptFd, EPOLLIN | EPOLLET, () => this.#interrupted());
  }

  get deviceQueue(): RingRelay["deviceQueue"] {
    return this.#relay.deviceQueue;
  }

  /** The device can take the ring over, as long as nothing else happens. */
  get drainedAtBoundary(): boolean {
    return this.#relay.drainedAtBoundary;
  }

  start(position: RingPosition): void {
    this.#relay.start(position);
  }

  connect(doorbell: Doorbell): void {
    this.#doorbell = doorbell;
    this.#complete(true);
    this.#watchKicks();
  }

  setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    if (this.#doorbell) this.#watchKicks();
  }

  setKick(kickFd: number): void {
    this.#unwatch();
    this.#kickFd = kickFd;
    if (this.#doorbell) this.#watchKicks();
  }

  setCall(callFd: number): void {
    this.#callFd = callFd;
    // An interrupt may have been missed.
    if (this.#doorbell) this.#complete(true);
  }

  handBackTo(take: () => void): void {
    this.#handBack = new HandBack(
      this.#relay,
      this.pumped.ring.size,
      this.place.loop,
      () => this.#forward(),
      take,
    );
  }

  allowHandBack(on: boolean): void {
    this.#handBack?.allow(on);
  }

  setLogging(logging: RelayLogging | undefined): void {
    this.#relay.setLogging(logging);
    this.#log = logging?.log;
  }

  rebind(): void {
    this.#relay.rebind();
    this.#reportFault();
  }

  cut(): void {
    this.#unwatch();
    this.#doorbell = undefined;
  }

  finish(): RingPosition {
    this.cut();
    this.#handBack?.close();
    this.#handBack = undefined;
    this.#takeCompleted(false);
    const position = this.#relay.closeHoles();
    this.#reportFault();
    this.place.loop.remove(this.#interruptFd);
    return position;
  }

  /** Follows the guest's kicks while the ring is enabled, and forwards once: a kick may have been lost before. */
  #watchKicks(): void {
    this.#unwatch();
    if (!this.#enabled) return;
    if (this.#kickFd >= 0) {
      // Edge-triggered and never read: the eventfd may be a blocking one, and stays the guest's.
      this.place.loop.add(this.#kickFd, EPOLLIN | EPOLLET, () => {
        this.#counters.add("kicks_relayed");
        // The device's interrupt may be late, while a driver that polls drops what its full ring has no room for.
        this.#takeCompleted(false);
        this.#forward();
      });
      this.#watched = this.#kickFd;
    }
    this.#forward();
    if (this.#doorbell) this.place.ringDoorbell(this.#doorbell);
  }

  #unwatch(): void {
    if (this.#watched >= 0) this.place.loop.remove(this.#watched);
    this.#watched = -1;
  }

  /** Gives the guest's new entries to the device until there are none, or the others must have their turn. */
  #forward(): void {
    if (!this.#doorbell || !this.#enabled) return;
    let more = true;
    for (let round = 0; more && round < ROUNDS; round++) {
      const moved = this.#relay.forward();
      if (moved > 0) this.#counters.add("relay_forwarded", moved);
      if (this.#relay.kickWanted()) this.place.ringDoorbell(this.#doorbell);
      // A ring that waits for room goes on once the device has completed something.
      more = !this.#relay.starved && this.#relay.setGuestKicks(true);
    }
    if (more && !this.#relay.fault) signalEventfd(this.#interruptFd);
    this.#reportFault();
    // Last, as it may end this ring.
    this.#handBack?.check();
  }

  #interrupted(): void {
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
    const log = this.#log;
    const marked = log?.marked ?? 0;
    const failures = log?.failures ?? 0;
    const moved = this.#relay.complete();
    if (moved > 0) this.#counters.add("relay_completed", moved);
    if (log) {
      // The log is all rings' own, so that only what was marked just now is this ring's.
      this.#counters.add("pages_logged", log.marked - marked);
      this.#counters.add("log_failures", log.failures - failures);
    }
    if (this.#relay.counts.overlongUsed > this.#overlong) this.#reportOverlong();
    if ((this.#relay.callWanted() || notify) && this.#callFd >= 0) {
      this.#counters.add("calls_relayed");
      signalPeerEventfd(this.#callFd);
    }
  }

  /** The guest must not see such a length, but what the device wrote lies in its buffers: no reason to stop. */
  #reportOverlong(): void {
    const { overlongUsed } = this.#relay.counts;
    this.#counters.add("anomalies", overlongUsed - this.#overlong);
    if (this.#overlong === 0) {
      this.place.log.warn(
        `queue ${this.pumped.index}: the device reports more bytes than a buffer has; such lengths are cut and counted`,
        { event: "used_length_cut", queue: this.pumped.index },
      );
    }
    this.#overlong = overlongUsed;
  }

  #reportFault(): void {
    const { fault } = this.#relay;
    if (!fault || this.#faultReported) return;
    this.#faultReported = true;
    this.#counters.add("ring_faults");
    this.place.log.error(
      `queue ${this.pumped.index} stops after a fault of the ${fault.side}'s in its ring: ${fault.message}`,
      { event: "ring_fault", queue: this.pumped.index, side: fault.side, reason: fault.message },
    );
  }
}
