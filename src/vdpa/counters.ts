/** Events of a device as a whole, counted while serving. */
export const DEVICE_COUNTERS = [
  "connections",
  "refused_connections",
  "messages",
  "refused_messages",
  "configures",
  "resets",
  "config_interrupts",
  "device_faults",
] as const;

/** Events of one virtqueue. */
export const QUEUE_COUNTERS = [
  /** Kicks of the guest that this process passed on to the device. */
  "kicks_relayed",
  /** Interrupts of the device that this process passed on to the guest. */
  "calls_relayed",
  /** Entries given to the device by the relay, and completions given to the guest. */
  "relay_forwarded",
  "relay_completed",
  /** Pages marked in the dirty log (a page may count again after the front-end took its bit), and marks that failed. */
  "pages_logged",
  "log_failures",
  /** What a device reports and a correct one would not, such as a used length beyond the buffers. */
  "anomalies",
  "ring_faults",
  /** Changes between direct and relay mode while the ring was running. */
  "mode_switches",
] as const;

export type DeviceCounterName = (typeof DEVICE_COUNTERS)[number];
export type QueueCounterName = (typeof QUEUE_COUNTERS)[number];

/** 128 pairs and a control queue, the most that virtio-net has within our limits. */
const MAX_QUEUES = 257;
const CELLS = DEVICE_COUNTERS.length + MAX_QUEUES * QUEUE_COUNTERS.length;

/** Plain objects: names that stand in the code are found in them without the hash that a map takes. */
const cells = <Name extends string>(names: readonly Name[]) =>
  Object.fromEntries(names.map((name, i) => [name, i])) as Record<Name, number>;
const DEVICE_CELL = cells(DEVICE_COUNTERS);
const QUEUE_CELL = cells(QUEUE_COUNTERS);

/** The counters of one virtqueue. */
export class QueueCounters {
  constructor(
    private readonly cells: Float64Array,
    private readonly first: number,
  ) {}

  add(name: QueueCounterName, n = 1): void {
    this.cells[this.first + QUEUE_CELL[name]]! += n;
  }

  get(name: QueueCounterName): number {
    return this.cells[this.first + QUEUE_CELL[name]]!;
  }

  snapshot(): Record<QueueCounterName, number> {
    return Object.fromEntries(QUEUE_COUNTERS.map((name) => [name, this.get(name)])) as Record<
      QueueCounterName,
      number
    >;
  }
}

/**
 * Counters in memory that threads share: each is written by one thread only and may be read by all, without disturbing
 * the one that counts. They are doubles, as those are loaded and stored whole and exact up to 2^53.
 */
export class Counters {
  readonly #cells: Float64Array;

  /** @param memory what `memory` of another thread's counters gave; new memory when absent */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(CELLS * 8)) {
    this.#cells = new Float64Array(memory);
  }

  add(name: DeviceCounterName, n = 1): void {
    this.#cells[DEVICE_CELL[name]]! += n;
  }

  get(name: DeviceCounterName): number {
    return this.#cells[DEVICE_CELL[name]]!;
  }

  /** @param index virtqueue index, below 257 */
  queue(index: number): QueueCounters {
    if (index >= MAX_QUEUES) throw new RangeError(`no counters for queue ${index}`);
    return new QueueCounters(this.#cells, DEVICE_COUNTERS.length + index * QUEUE_COUNTERS.length);
  }

  /** The device's counters by name. */
  snapshot(): Record<DeviceCounterName, number> {
    return Object.fromEntries(DEVICE_COUNTERS.map((name) => [name, this.get(name)])) as Record<
      DeviceCounterName,
      number
    >;
  }
}
