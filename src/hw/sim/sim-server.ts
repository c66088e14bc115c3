import { E, SysError } from "../ffi/errno.ts";
import { EPOLLET, EPOLLIN, EventLoop } from "../ffi/event-loop.ts";
import { drainEventfd } from "../ffi/eventfd.ts";
import { closeFd } from "../ffi/fd.ts";
import type { Log } from "../log.ts";
import type { MailboxServer, Message } from "../mailbox.ts";
import type { Doorbell, RegisterWidth } from "../pci-function.ts";
import { doorbellOffset, VIRTIO_BAR } from "./bar-layout.ts";
import { type FaultSwitch, withdrawn } from "./fault-switch.ts";
import { dupEventfd } from "./interrupts.ts";
import type { Op } from "./mailbox.ts";
import type { SimDevice } from "./sim-device.ts";
import type { SimFaults } from "./sim-options.ts";

/** Serves requests and doorbells to a device in this thread. */
export class SimServer {
  readonly #device: SimDevice;
  readonly #mailbox: MailboxServer<Op>;
  readonly #loop = new EventLoop();
  /** Our duplicates of the bound eventfds, by region, offset, width and value. */
  readonly #doorbells = new Map<string, number>();
  #open = true;

  constructor(device: SimDevice, mailbox: MailboxServer<Op>, requestFd: number) {
    this.#device = device;
    this.#mailbox = mailbox;
    this.#loop.add(requestFd, EPOLLIN, () => drainEventfd(requestFd));
  }

  /** Faults that are on or off, and change at every signal of the eventfd, which stays the caller's. */
  switchFaults({ fd, faults, on }: FaultSwitch, log: Log): void {
    let now = on;
    const apply = () => {
      this.#device.inject(now ? faults : withdrawn(faults));
      log.info(`simulated device misbehaves ${now ? "as ordered" : "no longer"}`, {
        event: "sim_faults",
        on: now,
      });
    };
    if (on && Object.keys(faults).length > 0) apply();
    this.#loop.add(fd, EPOLLIN, () => {
      if (drainEventfd(fd) % 2n === 0n) return;
      now = !now;
      apply();
    });
  }

  /** Returns once the connected side has closed the device. */
  run(): void {
    try {
      while (this.#open) {
        const more = this.#device.poll();
        this.#loop.runOnce(more ? 0 : -1);
        this.#ring(this.#mailbox.takePosts());
        this.#mailbox.serve((op, numbers, big, data) => this.#handle(op, numbers, big, data));
      }
    } finally {
      this.#release();
    }
  }

  #ring(kicks: number): void {
    for (let queue = 0; kicks >>> queue; queue++) {
      if (!((kicks >>> queue) & 1)) continue;
      this.#device.regWrite(VIRTIO_BAR, doorbellOffset(this.#device.config, queue), 2, queue);
    }
  }

  #handle(op: Op, numbers: Float64Array, big: bigint, data: unknown): Message {
    const [a = 0, b = 0, c = 0, d = 0] = numbers;
    const device = this.#device;
    switch (op) {
      case "describe":
        return { data: device.config };
      case "read":
        this.#check(a, b, c);
        return { numbers: [device.regRead(a, b, c as RegisterWidth)] };
      case "write":
        this.#check(a, b, c);
        device.regWrite(a, b, c as RegisterWidth, d);
        return {};
      case "enableMsix":
        device.interrupts.enable(a);
        return {};
      case "setVector":
        device.interrupts.setVector(a, b);
        return {};
      case "disableMsix":
        device.interrupts.disable();
        return {};
      case "bindDoorbell":
        this.#bind(data as Doorbell, a);
        return {};
      case "unbindDoorbell":
        this.#unbind(data as Doorbell);
        return {};
      case "reset":
        device.reset();
        return {};
      case "map":
        device.iova.map(big, { hva: a, size: b, stable: c === 1 });
        return {};
      case "unmap":
        device.iova.unmap(big, a);
        return {};
      case "watchRelease":
        device.watchRelease(a);
        return {};
      case "inject":
        device.inject(data as SimFaults);
        return {};
      case "close":
        this.#release();
        return {};
    }
  }

  #check(region: number, offset: number, width: number): void {
    if (this.#device.isAccess(region, offset, width)) return;
    throw new SysError(
      "access to the simulated device",
      E.EINVAL,
      `region ${region} offset ${offset} width ${width}`,
    );
  }

  #bind(doorbell: Doorbell, eventfd: number): void {
    const call = "bind a doorbell of the simulated device";
    const key = keyOf(doorbell);
    if (this.#device.config.faults.refuseDoorbell) throw new SysError(call, E.EINVAL, undefined);
    if (this.#doorbells.has(key)) throw new SysError(call, E.EEXIST);
    const { region, offset, width, value } = doorbell;
    this.#check(region, offset, width);
    const own = dupEventfd(eventfd, call);
    // Edge-triggered and never read: others may drain the eventfd, and it may be a blocking one.
    this.#loop.add(own, EPOLLIN | EPOLLET, () => this.#device.regWrite(region, offset, width, value));
    this.#doorbells.set(key, own);
  }

  #unbind(doorbell: Doorbell): void {
    const own = this.#doorbells.get(keyOf(doorbell));
    if (own === undefined) return;
    this.#doorbells.delete(keyOf(doorbell));
    this.#loop.remove(own);
    closeFd(own);
  }

  /** Lets go of everything; after it nothing is done for the driver any more. */
  #release(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#device.close();
    for (const own of this.#doorbells.values()) {
      this.#loop.remove(own);
      closeFd(own);
    }
    this.#loop.close();
  }
}

const keyOf = ({ region, offset, width, value }: Doorbell) => `${region}:${offset}:${width}:${value}`;
