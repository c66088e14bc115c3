import type { LogSettings } from "../cli/log.ts";
import type { ErrorKind } from "../hw/operator-error.ts";
import { OperatorError } from "../hw/operator-error.ts";
import type { FaultSwitch } from "../hw/sim/fault-switch.ts";
import type { SimLink } from "../hw/sim/link.ts";
import type { SimOptions } from "../hw/sim/sim-options.ts";
import type { DoorbellPolicy } from "../vdpa/doorbells.ts";
import type { RelayLink } from "../vdpa/relay-threads/link.ts";
import type { DatapathPolicy } from "../vdpa/ring.ts";
import type { SocketAccess, SocketKeeping } from "../vhost-user/socket-file.ts";

/** Where the front-end is met. */
export type Meeting =
  | ({
      readonly role: "server";
      readonly path: string;
      /** Leave the socket with the service manager. */
      readonly store?: boolean;
    } & SocketAccess &
      SocketKeeping)
  | { readonly role: "fd"; readonly fd: number }
  | { readonly role: "client"; readonly path: string };

/** Which device is served. */
export type Target =
  | { readonly kind: "pci"; readonly bdf: string }
  | { readonly kind: "sim"; readonly link: SimLink; readonly name?: string };

/** What the main thread gives the thread that serves a device. Plain data. */
export interface DeviceWorkerData {
  readonly role: "device";
  readonly target: Target;
  readonly meeting: Meeting;
  /** Eventfd of the main thread: once it is signalled the worker cleans up and ends. */
  readonly stopFd: number;
  /** Eventfd of the main thread: it is signalled when `commands` holds some. */
  readonly commandFd: number;
  /** A MessagePort from which WorkerCommands come; transferred. */
  readonly commands: unknown;
  /** The most queue pairs to offer; all that the device has when undefined. */
  readonly queuePairs: number | undefined;
  /** Virtio feature bits that may be offered. */
  readonly featuresMask: bigint;
  readonly doorbells: DoorbellPolicy;
  readonly datapath: DatapathPolicy;
  /** Links to threads that move the entries of relayed rings; this thread does where there are none. */
  readonly relayLinks: readonly RelayLink[];
  /** Serve even where the device's DMA may not be translated by the IOMMU. */
  readonly force: boolean;
  /** Tell of each message and each register write. */
  readonly trace: boolean;
  readonly counters: SharedArrayBuffer;
  /** Memory of a StateBoard. */
  readonly board: SharedArrayBuffer;
  /** Memory of a Pulse. */
  readonly pulse: SharedArrayBuffer;
  /** Where the service manager listens; undefined without one. */
  readonly managerAddress: string | undefined;
  readonly log: LogSettings;
}

/** What the main thread gives the thread of the simulated device. */
export interface SimWorkerData {
  readonly role: "sim";
  readonly link: SimLink;
  readonly options: SimOptions;
  readonly faultSwitch?: FaultSwitch;
  readonly log: LogSettings;
}

/** What the main thread gives a thread that moves the entries of relayed rings. */
export interface RelayWorkerData {
  readonly role: "relay";
  /** From 0. */
  readonly number: number;
  readonly link: RelayLink;
  readonly counters: SharedArrayBuffer;
  readonly log: LogSettings;
}

export type WorkerData = DeviceWorkerData | SimWorkerData | RelayWorkerData;

/** What the main thread asks of the serving thread. */
export type WorkerCommand =
  /** Nothing but the answer, which comes when the thread's loop comes round. */
  | { readonly id: number; readonly op: "ping" }
  /** Keeps all rings relayed, so that what the device writes can be logged at once; or no longer. */
  | { readonly id: number; readonly op: "hold"; readonly relay: boolean }
  /**
   * Moves the guest to another device by its full BDF; answered with a DeviceMove. A simulated device has a link, and
   * any name.
   */
  | { readonly id: number; readonly op: "move"; readonly bdf: string; readonly link?: SimLink };

/** What the serving thread tells the main thread. */
export type WorkerReport =
  | { readonly event: "answer"; readonly id: number; readonly result?: unknown; readonly error?: PlainError }
  | {
      readonly event: "ready";
      readonly where: string;
      readonly device: string;
      /** The listening socket where it outlives the thread: it is the main thread's then. */
      readonly kept: number | undefined;
    }
  | { readonly event: "front-end"; readonly connected: boolean }
  | { readonly event: "failed"; readonly error: PlainError }
  | { readonly event: "stopped" };

/** An OperatorError as it crosses threads, which keep no classes. */
export interface PlainError {
  readonly what: string;
  readonly why: string | undefined;
  readonly remedy: string | undefined;
  readonly kind: ErrorKind;
}

export function toPlain(error: unknown): PlainError {
  if (error instanceof OperatorError) {
    return { what: error.what, why: error.why, remedy: error.remedy, kind: error.kind };
  }
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { what, why: undefined, remedy: undefined, kind: "failed" };
}

export function fromPlain({ what, why, remedy, kind }: PlainError): OperatorError {
  return new OperatorError(what, { why, remedy, kind });
}
