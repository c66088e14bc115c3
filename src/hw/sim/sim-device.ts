import { signalEventfd } from "../ffi/eventfd.ts";
import { closeFd } from "../ffi/fd.ts";
import type { Log } from "../log.ts";
import { CONFIG_REGION, type RegisterWidth } from "../pci-function.ts";
import * as layout from "./bar-layout.ts";
import { CommonConfig } from "./common-config.ts";
import { SimCounters } from "./counters.ts";
import { DeviceFault } from "./device-fault.ts";
import { DmaPort } from "./dma-port.ts";
import { dupEventfd, Interrupts } from "./interrupts.ts";
import { IovaMap } from "./iova-map.ts";
import { NetFunction } from "./net-function.ts";
import { PciConfig } from "./pci-config.ts";
import { type SimConfig, type SimFaults, type SimOptions, simConfig } from "./sim-options.ts";
import { VirtioState } from "./virtio-state.ts";

/**
 * A virtio-net PCI device at register level, single-threaded and without any wait: accesses act at once, `poll`
 * does the work that doorbells have asked for. It reaches memory only through `iova` and answers whatever a driver
 * or guest does with DEVICE_NEEDS_RESET, never with an exception.
 */
export class SimDevice {
  readonly config: SimConfig;
  readonly iova: IovaMap;
  readonly interrupts: Interrupts;
  readonly counters: SimCounters;
  readonly #pci: PciConfig;
  readonly #common: CommonConfig;
  readonly #net: NetFunction;
  readonly #state: VirtioState;
  #releaseFd = -1;
  readonly #msixTable = new DataView(new ArrayBuffer(layout.MSIX_BAR_SIZE));

  /** Throws RangeError for options that no device could have. */
  constructor(options: SimOptions, log: Log, counters: SimCounters = new SimCounters()) {
    this.config = simConfig(options);
    this.counters = counters;
    this.iova = new IovaMap(this.config.usable);
    this.interrupts = new Interrupts(this.config.msixVectors, counters);
    const dma = new DmaPort(this.iova);
    this.#net = new NetFunction(this.config, dma, this.interrupts, counters);
    const { interrupts } = this;
    this.#state = new VirtioState(this.config, { dma, interrupts, net: this.#net, counters, log });
    this.#common = new CommonConfig(this.#state);
    this.#pci = new PciConfig(this.config, {
      read: (offset, width) => this.#readBar(offset, width),
      write: (offset, width, value) => this.#writeBar(offset, width, value),
    });
  }

  /** Whether register accesses of this kind exist at all; others are the caller's mistake. */
  isAccess(region: number, offset: number, width: number): boolean {
    const aligned = Number.isInteger(offset) && offset >= 0 && offset % width === 0;
    return (
      (width === 1 || width === 2 || width === 4) &&
      aligned &&
      offset + width <= layout.regionSize(this.config, region)
    );
  }

  regRead(region: number, offset: number, width: RegisterWidth): number {
    const allOnes = 2 ** (8 * width) - 1;
    if (this.config.faults.gone) return allOnes;
    if (region === CONFIG_REGION) return this.#pci.read(offset, width);
    if (!this.#pci.memoryEnabled) return allOnes;
    if (region === layout.VIRTIO_BAR) return this.#readBar(offset, width);
    return little(this.#msixTable, offset, width);
  }

  regWrite(region: number, offset: number, width: RegisterWidth, value: number): void {
    if (this.config.faults.gone) return;
    if (region === CONFIG_REGION) this.#pci.write(offset, width, value);
    else if (!this.#pci.memoryEnabled) return;
    else if (region === layout.VIRTIO_BAR) this.#writeBar(offset, width, value);
    else for (let i = 0; i < width; i++) this.#msixTable.setUint8(offset + i, value >>> (8 * i));
  }

  /** A doorbell with the right value. Nothing happens before DRIVER_OK (virtio 1.3 §3.1.1, step 8). */
  kick(queue: number): void {
    this.counters.add("kicks");
    if (this.#state.live) this.#state.queues[queue]!.kicked = true;
  }

  /** Serves kicked queues for a bounded time; true when there is more to do. */
  poll(): boolean {
    const state = this.#state;
    if (!state.live || this.config.faults.gone) return false;
    if (this.config.faults.needsReset) {
      state.needsReset("as ordered");
      return false;
    }
    if (!this.#pci.busMaster) {
      if (!state.queues.some((queue) => queue.kicked)) return false;
      state.needsReset("DMA while bus mastering is off");
      return false;
    }
    try {
      return this.#net.poll(state.queues, state.features);
    } catch (error) {
      if (!(error instanceof DeviceFault)) throw error;
      state.needsReset(error.message);
      return false;
    }
  }

  /** Function level reset: registers and vectors, not the mappings. */
  reset(): void {
    this.#state.reset();
    this.#common.reset();
    this.interrupts.disable();
  }

  /** Turns misbehaviour on or off. */
  inject(faults: SimFaults): void {
    Object.assign(this.config.faults, faults);
    if (faults.generationNeverSettles) this.#state.configChanged();
    if (faults.releaseRequest && this.#releaseFd >= 0) signalEventfd(this.#releaseFd);
  }

  /** Whom to tell that the kernel asks for the device back; a duplicate of the eventfd is kept. */
  watchRelease(eventfd: number): void {
    const own = dupEventfd(eventfd, "watch the release request of the simulated device");
    closeFd(this.#releaseFd);
    this.#releaseFd = own;
  }

  /** Resets the device and lets go of all memory and fds. */
  close(): void {
    this.reset();
    this.iova.unmapAll();
    closeFd(this.#releaseFd);
    this.#releaseFd = -1;
  }

  #readBar(offset: number, width: RegisterWidth): number {
    if (offset < layout.COMMON_SIZE) return this.#common.read(offset, width);
    const at = offset - layout.DEVICE_OFFSET;
    if (at >= 0 && at + width <= this.#net.config.length) {
      return little(new DataView(this.#net.config.buffer, this.#net.config.byteOffset), at, width);
    }
    return 0;
  }

  #writeBar(offset: number, width: RegisterWidth, value: number): void {
    if (offset < layout.COMMON_SIZE) {
      this.#common.write(offset, width, value);
      return;
    }
    const queue = layout.queueOfDoorbell(this.config, offset);
    // §4.1.5.2: without NOTIFICATION_DATA the driver writes the 16-bit queue index.
    if (queue !== undefined && width === 2 && value === queue && queue < this.#state.numQueues)
      this.kick(queue);
    else this.#state.violation(`write of ${value} (${width} bytes) at 0x${offset.toString(16)} of BAR 4`);
  }
}

function little(view: DataView, offset: number, width: RegisterWidth): number {
  if (width === 1) return view.getUint8(offset);
  return width === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
}
