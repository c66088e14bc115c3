import { EPOLLET, EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import type { Doorbell, PciFunction } from "../hw/pci-function.ts";
import type { DoorbellKind } from "./vdpa-device.ts";

/** `auto`: the kernel rings the doorbell where it can; `relay`: this thread always does. */
export type DoorbellPolicy = "auto" | "relay";

interface Wiring {
  readonly doorbell: Doorbell;
  readonly kickFd: number;
  readonly kind: DoorbellKind;
}

/**
 * Connects the guest's kick eventfds to the device's doorbells, per queue by the best means there is. An eventfd
 * that this thread relays is watched edge-triggered and never read: it may be blocking, and it stays the guest's.
 */
export class Doorbells {
  readonly #wirings = new Map<number, Wiring>();
  /** Queues whose doorbell page the guest has; it keeps it when its eventfd is replaced. */
  readonly #hostNotifiers = new Set<number>();

  constructor(
    readonly fn: PciFunction,
    readonly loop: EventLoop,
    readonly log: Log,
    readonly policy: DoorbellPolicy,
    readonly onRelayedKick: (queue: number) => void,
  ) {}

  /** Connects a queue, replacing what it had, and rings once: a kick may have been missed before. */
  connect(queue: number, doorbell: Doorbell, kickFd: number): void {
    this.disconnect(queue);
    if (kickFd >= 0)
      this.#wirings.set(queue, { doorbell, kickFd, kind: this.#wire(queue, doorbell, kickFd) });
    this.ring(doorbell);
  }

  /** Cuts a queue off from its eventfd; harmless when it is not connected. */
  disconnect(queue: number): void {
    const wiring = this.#wirings.get(queue);
    if (!wiring) return;
    this.#wirings.delete(queue);
    if (wiring.kind === "relay") this.loop.remove(wiring.kickFd);
    else this.fn.unbindDoorbell(wiring.doorbell);
  }

  disconnectAll(): void {
    for (const queue of [...this.#wirings.keys()]) this.disconnect(queue);
  }

  ring(doorbell: Doorbell): void {
    this.fn.write(doorbell.region, doorbell.offset, doorbell.width, doorbell.value);
  }

  kind(queue: number): DoorbellKind {
    const kind = this.#wirings.get(queue)?.kind ?? "none";
    return kind !== "none" && this.#hostNotifiers.has(queue) ? "host-notifier" : kind;
  }

  /** The guest writes the doorbell itself (true), or no longer does. Its eventfd stays connected: it may use both. */
  setHostNotifier(queue: number, active: boolean): void {
    if (active) this.#hostNotifiers.add(queue);
    else this.#hostNotifiers.delete(queue);
  }

  #wire(queue: number, doorbell: Doorbell, kickFd: number): DoorbellKind {
    if (this.policy === "auto") {
      try {
        this.fn.bindDoorbell(doorbell, kickFd);
        return "ioeventfd";
      } catch (error) {
        this.log.warn(
          `queue ${queue}: the kernel does not ring this doorbell, kicks are relayed (${messageOf(error)})`,
          { event: "doorbell_relayed", queue, error: messageOf(error) },
        );
      }
    }
    // Queues may share one eventfd, but each came with an fd number of its own, so each is watched on its own.
    this.loop.add(kickFd, EPOLLIN | EPOLLET, () => {
      this.onRelayedKick(queue);
      this.ring(doorbell);
    });
    return "relay";
  }
}
