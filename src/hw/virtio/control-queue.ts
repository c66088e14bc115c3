import type { DmaBuffer } from "../dma-buffer.ts";
import { messageOf, type OperatorError } from "../operator-error.ts";
import type { Doorbell } from "../pci-function.ts";
import { DEFAULT_LIMIT_MS, waitUntil } from "./bounded-wait.ts";
import type { CommandRing, Outcome, Segment } from "./command-ring.ts";
import { controlRing } from "./control-ring.ts";
import { deviceError } from "./device-error.ts";
import {
  hasFeature,
  VIRTIO_F_RING_PACKED,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_RX_EXTRA,
  VIRTIO_NET_F_MQ,
  VIRTIO_RING_F_EVENT_IDX,
} from "./features.ts";
import { PackedCommandRing } from "./packed-command-ring.ts";
import { alignUp } from "./ring-layout.ts";
import { SplitCommandRing } from "./split-command-ring.ts";
import { statusNames } from "./status.ts";
import { NO_VECTOR, type VirtioTransport } from "./transport.ts";

const VIRTIO_NET_CTRL_RX = 0;
const VIRTIO_NET_CTRL_MAC = 1;
const VIRTIO_NET_CTRL_MAC_ADDR_SET = 1;
const VIRTIO_NET_CTRL_MQ = 4;
const VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
const VIRTIO_NET_OK = 0;
const VIRTIO_NET_ERR = 1;
/** The ack byte before the device has written it: no value of the specification. */
const NO_ACK = 0xff;

/** Receive modes by their command (virtio 1.3 §5.1.6.5.1) and the feature each needs. */
const RX_MODES = {
  promisc: [0, VIRTIO_NET_F_CTRL_RX],
  allmulti: [1, VIRTIO_NET_F_CTRL_RX],
  alluni: [2, VIRTIO_NET_F_CTRL_RX_EXTRA],
  nomulti: [3, VIRTIO_NET_F_CTRL_RX_EXTRA],
  nouni: [4, VIRTIO_NET_F_CTRL_RX_EXTRA],
  nobcast: [5, VIRTIO_NET_F_CTRL_RX_EXTRA],
} as const;

/** Receive modes to switch on or off; those not named stay as they are. */
export type RxMode = { readonly [K in keyof typeof RX_MODES]?: boolean };

/** Behind the ring: class and command right before the data, the ack byte after it. */
const HEADER_AT = 14;
const DATA_AT = 16;
const MOST_DATA = 512;
const ACK_AT = DATA_AT + MOST_DATA;
const COMMAND_AREA = ACK_AT + 16;

export interface ControlQueueOptions {
  /** Queue index: 2 × max_virtqueue_pairs with MQ, else 2 (virtio 1.3 §5.1.2). */
  readonly index: number;
  /** Features negotiated. */
  readonly features: bigint;
  /** Memory of at least `ControlQueue.memorySize`, zeroed or from an earlier control queue. It stays the caller's. */
  readonly memory: DmaBuffer;
  /** Longest time in milliseconds for one command, 5000 by default. */
  readonly limitMs?: number | undefined;
}

/**
 * The control virtqueue of a network device (virtio 1.3 §5.1.6.5), driven by us: commands go one at a time and are
 * waited for, without interrupts. A command that the device does not complete leaves the queue unusable until the
 * device is reset and a new one is created.
 */
export class ControlQueue {
  #broken: string | undefined;

  private constructor(
    private readonly transport: VirtioTransport,
    private readonly options: ControlQueueOptions,
    private readonly ring: CommandRing,
    private readonly entries: number,
    /** Offset of the command area in the memory. */
    private readonly area: number,
    private readonly doorbell: Doorbell,
  ) {}

  /** Bytes of memory that the control queue of this device needs, a multiple of 4096. */
  static memorySize(transport: VirtioTransport, index: number, features: bigint): number {
    const { layout } = controlRing(transport, index, features);
    return alignUp(alignUp(layout.size, 64) + COMMAND_AREA, 4096);
  }

  /** Sets up and enables the queue; to be called between FEATURES_OK and DRIVER_OK. Commands come after that. */
  static create(transport: VirtioTransport, options: ControlQueueOptions): ControlQueue {
    const { index, features, memory } = options;
    const { entries, layout } = controlRing(transport, index, features);
    const area = alignUp(layout.size, 64);
    if (area + COMMAND_AREA > memory.memory.size) {
      throw new RangeError(`${memory.memory.size} bytes for a control queue of ${area + COMMAND_AREA}`);
    }
    memory.memory.window(0).u8.fill(0, 0, area + COMMAND_AREA);
    const ringMemory = { buffer: memory, layout, entries };
    const ring = hasFeature(features, VIRTIO_F_RING_PACKED)
      ? new PackedCommandRing(ringMemory)
      : new SplitCommandRing(ringMemory, hasFeature(features, VIRTIO_RING_F_EVENT_IDX));
    transport.setupQueue(index, {
      size: entries,
      desc: memory.iova + BigInt(layout.desc),
      driver: memory.iova + BigInt(layout.driver),
      device: memory.iova + BigInt(layout.device),
      vector: NO_VECTOR,
    });
    transport.enableQueue(index);
    return new ControlQueue(transport, options, ring, entries, area, transport.doorbell(index));
  }

  /** Entries. */
  get size(): number {
    return this.entries;
  }

  /** Makes the device use the first `pairs` queue pairs (VQ_PAIRS_SET); needs MQ negotiated. */
  setQueuePairs(pairs: number): void {
    const name = `VQ_PAIRS_SET ${pairs}`;
    this.#need(VIRTIO_NET_F_MQ, "MQ", name);
    const data = Uint8Array.of(pairs & 0xff, pairs >> 8);
    this.#command(name, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, data);
  }

  /** @param mac six bytes; needs CTRL_MAC_ADDR negotiated */
  setMac(mac: Uint8Array): void {
    if (mac.length !== 6) throw new RangeError(`MAC address of ${mac.length} bytes`);
    const name = "MAC_ADDR_SET";
    this.#need(VIRTIO_NET_F_CTRL_MAC_ADDR, "CTRL_MAC_ADDR", name);
    this.#command(name, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac);
  }

  /** Needs CTRL_RX negotiated, for the last four modes CTRL_RX_EXTRA. */
  setRxMode(mode: RxMode): void {
    for (const [key, on] of Object.entries(mode) as [keyof RxMode, boolean | undefined][]) {
      if (on === undefined) continue;
      const [command, feature] = RX_MODES[key];
      const name = `RX ${key} ${on ? "on" : "off"}`;
      this.#need(feature, feature === VIRTIO_NET_F_CTRL_RX ? "CTRL_RX" : "CTRL_RX_EXTRA", name);
      this.#command(name, VIRTIO_NET_CTRL_RX, command, Uint8Array.of(on ? 1 : 0));
    }
  }

  #need(feature: number, featureName: string, command: string): void {
    if (!hasFeature(this.options.features, feature)) {
      throw this.#error(command, `${featureName} was not negotiated`);
    }
  }

  #command(name: string, commandClass: number, command: number, data: Uint8Array): void {
    const { trace } = this.transport.fn;
    if (!trace) {
      this.#carryOut(name, commandClass, command, data);
      return;
    }
    const { index: queue } = this.options;
    const tell = (answer: string) =>
      trace(`control command ${name}: ${answer}`, { event: "control_command", queue, command: name, answer });
    try {
      this.#carryOut(name, commandClass, command, data);
      tell("ok");
    } catch (error) {
      tell(messageOf(error));
      throw error;
    }
  }

  #carryOut(name: string, commandClass: number, command: number, data: Uint8Array): void {
    if (this.#broken) throw this.#error(name, this.#broken, "the device must be reset first");
    const { u8 } = this.options.memory.memory.window(0);
    u8[this.area + HEADER_AT] = commandClass;
    u8[this.area + HEADER_AT + 1] = command;
    u8.set(data, this.area + DATA_AT);
    u8[this.area + ACK_AT] = NO_ACK;
    this.ring.submit(this.#chain(data.length));
    const { region, offset, width, value } = this.doorbell;
    this.transport.fn.write(region, offset, width, value);

    const limitMs = this.options.limitMs ?? DEFAULT_LIMIT_MS;
    let outcome: Outcome = "pending";
    waitUntil(() => {
      outcome = this.ring.poll();
      return outcome !== "pending";
    }, limitMs);
    this.#judge(name, outcome, limitMs);
    const ack = u8[this.area + ACK_AT]!;
    if (ack === VIRTIO_NET_OK) return;
    throw this.#error(name, ack === VIRTIO_NET_ERR ? "the device refuses it" : `its answer is ${ack}`);
  }

  /** Breaks the queue when the device still owns its memory or can not be trusted with it. */
  #judge(name: string, outcome: Outcome, limitMs: number): void {
    if (outcome === "done") return;
    const status = statusNames(this.transport.status()).join(", ") || "0";
    this.#broken =
      outcome === "pending"
        ? `${name} did not complete within ${limitMs / 1000} s (device status ${status})`
        : `the device broke the ring's rules: ${outcome.fault} (device status ${status})`;
    throw this.#error(name, this.#broken, "the device must be reset");
  }

  /** Devices without ANY_LAYOUT want header, data and ack in descriptors of their own (virtio 1.3 §5.1.6.5). */
  #chain(dataLength: number): Segment[] {
    const at = (offset: number, length: number, deviceWrites = false): Segment => ({
      iova: this.options.memory.iova + BigInt(this.area + offset),
      length,
      deviceWrites,
    });
    const ack = at(ACK_AT, 1, true);
    if (this.entries < 3) return [at(HEADER_AT, 2 + dataLength), ack];
    return [at(HEADER_AT, 2), at(DATA_AT, dataLength), ack];
  }

  #error(command: string, why: string, remedy?: string): OperatorError {
    return deviceError(this.transport.fn, `control command ${command} failed`, why, remedy);
  }
}
