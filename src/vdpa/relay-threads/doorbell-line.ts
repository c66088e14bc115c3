import { EPOLLIN, type EventLoop } from "../../hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd } from "../../hw/ffi/eventfd.ts";
import { closeFd } from "../../hw/ffi/fd.ts";
import type { Log } from "../../hw/log.ts";
import { messageOf } from "../../hw/operator-error.ts";
import type { Doorbell, PciFunction } from "../../hw/pci-function.ts";
import type { DoorbellPolicy } from "../doorbells.ts";

/**
 * An eventfd by which a thread that does not drive the device rings one of its doorbells: the kernel writes the
 * register in the context of that thread (ioeventfd), or, where it refuses, the thread that drives the device does.
 */
export class DoorbellLine {
  readonly fd = createEventfd();
  #bound: Doorbell | undefined;
  #watched = false;

  /** @param queue virtqueue index, for messages */
  constructor(
    readonly queue: number,
    readonly fn: PciFunction,
    readonly loop: EventLoop,
    readonly log: Log,
    readonly policy: DoorbellPolicy,
  ) {}

  connect(doorbell: Doorbell): void {
    this.disconnect();
    if (this.policy === "auto") {
      try {
        this.fn.bindDoorbell(doorbell, this.fd);
        this.#bound = doorbell;
        return;
      } catch (error) {
        this.log.warn(
          `queue ${this.queue}: the kernel does not ring this doorbell, the device's thread does (${messageOf(error)})`,
          { event: "doorbell_relayed", queue: this.queue, error: messageOf(error) },
        );
      }
    }
    const { region, offset, width, value } = doorbell;
    this.loop.add(this.fd, EPOLLIN, () => {
      drainEventfd(this.fd);
      this.fn.write(region, offset, width, value);
    });
    this.#watched = true;
  }

  disconnect(): void {
    if (this.#bound) this.fn.unbindDoorbell(this.#bound);
    this.#bound = undefined;
    if (this.#watched) this.loop.remove(this.fd);
    this.#watched = false;
  }

  close(): void {
    this.disconnect();
    closeFd(this.fd);
  }
}
