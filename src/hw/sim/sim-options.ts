import type { IovaRange } from "../pci-function.ts";

/** Misbehaviour to order; all of it is off by default and can be changed while the device runs. */
export interface SimFaults {
  /** Writing status 0 has no visible effect. */
  resetNeverCompletes?: boolean;
  /** Control commands are taken but never answered. */
  controlNeverCompletes?: boolean;
  /** FEATURES_OK never reads back as set. */
  refuseFeatures?: boolean;
  /** Every read is all ones and every write is lost: the device was pulled out. */
  gone?: boolean;
  /** config_generation differs on every read, and a configuration interrupt says so. */
  generationNeverSettles?: boolean;
  /** Used elements carry an id that was never offered. */
  wrongUsedId?: boolean;
  /** Used elements report a byte more than the chain has. */
  usedLenTooLong?: boolean;
  /** Every chain is used twice. */
  usedTwice?: boolean;
  /** The used position jumps: by a whole ring (split), over a descriptor (packed). */
  usedJumps?: boolean;
  /** The device stops by itself and asks to be reset. */
  needsReset?: boolean;
  /** queue_reset never reads back as 0, and the queue goes on. */
  queueResetNeverCompletes?: boolean;
  /** The kernel asks for the device back. */
  releaseRequest?: boolean;
  /** The PCI capabilities follow each other in a circle; only from the start. */
  capabilityLoop?: boolean;
  /** This queue reads size 0, so it does not exist. */
  missingQueue?: number | false;
  /** `bindDoorbell` fails, so that callers must write the doorbell themselves. */
  refuseDoorbell?: boolean;
}

/** The simulated network device; every field has a default. Plain data, so that it can be sent to a thread. */
export interface SimOptions {
  /** Queue pairs, 1 to 8 (default 8). MQ is offered from 2 on. */
  pairs?: number;
  /** Largest queue size in entries, a power of two (default 1024). */
  queueSize?: number;
  /** All queues share one size register, as on some NICs (default false). */
  sharedQueueSize?: boolean;
  /** MSI-X table entries (default 2 × pairs + 2: configuration, each data queue, control queue). */
  msixVectors?: number;
  /** notify_off_multiplier: 4, or 4096 for a page per queue (default 4). */
  notifyMultiplier?: 4 | 4096;
  /** MAC address (default 52:54:00:00:00:01). */
  mac?: string;
  /** MTU in bytes (default 1500). */
  mtu?: number;
  /** Feature bits to withhold, for example RING_PACKED or RING_RESET. */
  withhold?: bigint;
  /** Offers IN_ORDER (default false). Not together with `shuffleSeed`. */
  inOrder?: boolean;
  /** Completes chains out of order, in an order that this seed determines. Without it: in order. */
  shuffleSeed?: number;
  /** Frames that one pair's port holds while there is no receive buffer (default 256). */
  portFrames?: number;
  /** IOVA ranges that can be mapped (default 48 bits without the x86 interrupt window). */
  usable?: readonly IovaRange[];
  faults?: SimFaults;
}

export type SimConfig = Required<Omit<SimOptions, "shuffleSeed">> & {
  readonly shuffleSeed: number | undefined;
};

export const PAGE_SIZE = 4096;

const USABLE: readonly IovaRange[] = [
  { first: 0n, last: 0xfedf_ffffn },
  // 0xfee00000–0xfeefffff is the interrupt window of x86, which no IOMMU lets a device use for memory.
  { first: 0xfef0_0000n, last: 0xffff_ffff_ffffn },
];

/** Fills in the defaults. Throws RangeError for what no device could be. */
export function simConfig(options: SimOptions = {}): SimConfig {
  const pairs = options.pairs ?? 8;
  const queueSize = options.queueSize ?? 1024;
  if (!Number.isInteger(pairs) || pairs < 1 || pairs > 8)
    throw new RangeError(`${pairs} queue pairs: 1 to 8`);
  if (queueSize < 1 || queueSize > 32768 || (queueSize & (queueSize - 1)) !== 0) {
    throw new RangeError(`queue size ${queueSize}: a power of two up to 32768`);
  }
  if (options.inOrder && options.shuffleSeed !== undefined) {
    throw new RangeError("IN_ORDER can not be offered by a device that shuffles its completions");
  }
  return {
    pairs,
    queueSize,
    sharedQueueSize: options.sharedQueueSize ?? false,
    msixVectors: options.msixVectors ?? 2 * pairs + 2,
    notifyMultiplier: options.notifyMultiplier ?? 4,
    mac: options.mac ?? "52:54:00:00:00:01",
    mtu: options.mtu ?? 1500,
    withhold: options.withhold ?? 0n,
    inOrder: options.inOrder ?? false,
    shuffleSeed: options.shuffleSeed,
    portFrames: options.portFrames ?? 256,
    usable: options.usable ?? USABLE,
    faults: options.faults ?? {},
  };
}
