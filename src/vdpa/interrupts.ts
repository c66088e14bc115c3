import { EPOLLIN, type EventLoop } from "../hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalPeerEventfd } from "../hw/ffi/eventfd.ts";
import { closeFd } from "../hw/ffi/fd.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { PciFunction } from "../hw/pci-function.ts";

/** Refuses a device that could not tell a guest of anything. */
export function requireInterrupts(fn: PciFunction): void {
  if (fn.msixVectors > 0) return;
  throw new OperatorError(`${fn.name} can not interrupt`, {
    why: "it has no MSI-X vectors",
    remedy: "give it vectors, 2 for each queue pair and 2 more (QEMU: vectors=N)",
    kind: "not-ready",
  });
}

/**
 * Hands the guest's call eventfds to the device's MSI-X vectors. Vector 0 is the configuration's, vector i + 1 queue
 * i's. Where the device has too few vectors the last one is shared: its eventfd is ours, and each of its interrupts
 * is passed on to all queues that share it, which a driver must tolerate (virtio 1.3 §2.3 leaves spurious
 * notifications to the device).
 */
export class Interrupts {
  readonly #configFd = createEventfd();
  readonly #sharedFd = createEventfd();
  readonly #shared = new Map<number, number>();
  /** Eventfds of the queues that have a vector of their own. */
  readonly #direct = new Map<number, number>();
  #vectors = 0;
  #sharedVector: number | undefined;

  constructor(
    readonly fn: PciFunction,
    readonly loop: EventLoop,
    readonly log: Log,
    readonly onConfigChange: () => void,
    readonly onRelayedCall: (queue: number) => void,
  ) {
    loop.add(this.#configFd, EPOLLIN, () => {
      drainEventfd(this.#configFd);
      this.onConfigChange();
    });
    loop.add(this.#sharedFd, EPOLLIN, () => {
      drainEventfd(this.#sharedFd);
      // With two vectors or more the configuration has its own.
      if (this.#sharedVector === 0) this.onConfigChange();
      for (const [queue, callFd] of this.#shared) {
        this.onRelayedCall(queue);
        if (callFd >= 0) signalPeerEventfd(callFd);
      }
    });
  }

  /** Allocates vectors for the configuration and `queues` queues, as far as the device has them: one at least. */
  enable(queues: number): void {
    const wanted = queues + 1;
    this.#vectors = Math.min(wanted, this.fn.msixVectors);
    this.fn.enableMsix(this.#vectors);
    this.#sharedVector = this.#vectors < wanted ? this.#vectors - 1 : undefined;
    if (this.#sharedVector !== undefined) {
      this.log.warn(
        `${this.fn.name} has ${this.#vectors} MSI-X vectors, ${wanted} would give each queue its own: ` +
          `vector ${this.#sharedVector} is shared and relayed`,
        { event: "vectors_short", device: this.fn.name, vectors: this.#vectors, wanted },
      );
      this.fn.setVector(this.#sharedVector, this.#sharedFd);
    }
    if (this.#sharedVector !== 0) this.fn.setVector(0, this.#configFd);
  }

  get configVector(): number {
    return 0;
  }

  /** The vector that a queue signals. */
  vectorOf(queue: number): number {
    return Math.min(queue + 1, this.#vectors - 1);
  }

  /** Whether a queue's interrupts pass through this thread. */
  isShared(queue: number): boolean {
    return this.#sharedVector !== undefined && this.vectorOf(queue) === this.#sharedVector;
  }

  /**
   * Connects a queue's vector to an eventfd (-1: none) and signals it once: an interrupt may have been missed. Where
   * the kernel refuses the eventfd the one before stays in use.
   */
  connect(queue: number, callFd: number): void {
    if (this.isShared(queue)) this.#shared.set(queue, callFd);
    else this.#connectDirect(queue, callFd);
    if (callFd >= 0) signalPeerEventfd(callFd);
  }

  #connectDirect(queue: number, callFd: number): void {
    const vector = this.vectorOf(queue);
    const before = this.#direct.get(queue) ?? -1;
    try {
      this.fn.setVector(vector, callFd);
    } catch (error) {
      this.#restore(queue, vector, before);
      throw error;
    }
    this.#direct.set(queue, callFd);
  }

  /** VFIO lets go of a vector's eventfd before it looks at the next one (drivers/vfio/pci/vfio_pci_intrs.c). */
  #restore(queue: number, vector: number, callFd: number): void {
    if (callFd < 0) return;
    try {
      this.fn.setVector(vector, callFd);
      signalPeerEventfd(callFd);
    } catch (error) {
      this.#direct.delete(queue);
      this.log.error(`queue ${queue} is left without an interrupt: ${messageOf(error)}`, {
        event: "interrupt_lost",
        queue,
        error: messageOf(error),
      });
    }
  }

  disconnect(queue: number): void {
    if (this.#vectors === 0) return;
    if (this.isShared(queue)) this.#shared.delete(queue);
    else if (this.#direct.delete(queue)) this.fn.setVector(this.vectorOf(queue), -1);
  }

  /** Frees all vectors. */
  disable(): void {
    this.#shared.clear();
    this.#direct.clear();
    if (this.#vectors > 0) this.fn.disableMsix();
    this.#vectors = 0;
    this.#sharedVector = undefined;
  }

  close(): void {
    this.disable();
    for (const fd of [this.#configFd, this.#sharedFd]) {
      this.loop.remove(fd);
      closeFd(fd);
    }
  }
}
