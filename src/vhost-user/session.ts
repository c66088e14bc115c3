import type { EventLoop } from "../hw/ffi/event-loop.ts";
import type { Log } from "../hw/log.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { Trace } from "../hw/trace.ts";
import * as F from "../hw/virtio/features.ts";
import { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_NEEDS_RESET } from "../hw/virtio/status.ts";
import type { DirtyLog } from "../memory/dirty-log.ts";
import type { VdpaDevice, VringConfig } from "../vdpa/vdpa-device.ts";
import { DoorbellPages } from "./doorbell-pages.ts";
import type { DevicePlace } from "./host-notifiers.ts";
import {
  PROTOCOL_F,
  type ProtocolFeature,
  VHOST_F_LOG_ALL,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from "./protocol.ts";
import { isReady, usedRings } from "./readiness.ts";
import type { StateTransfer } from "./state-transfer.ts";
import { protocolFeaturesOf } from "./successor.ts";
import { Vring } from "./vring.ts";
import { vringConfig } from "./vring-config.ts";
import { wantedLogging } from "./wanted-logging.ts";

/**
 * The state of one front-end's connection: what it negotiated, its rings, and when that makes the device run. Owns
 * every fd that the front-end gave; `close` leaves the device reset and the memory empty.
 */
export class Session {
  owned = false;
  /** As in SET_FEATURES, with the vhost-user bits; undefined before. */
  features: bigint | undefined;
  /** The last SET_FEATURES was refused. */
  featuresRefused = false;
  protocolFeatures = 0n;
  /** Virtio device status, 0 to 255. */
  status = 0;
  /** Bytes, as in NET_SET_MTU; undefined before. */
  mtu: number | undefined;
  log: DirtyLog | undefined;
  stateTransfer: StateTransfer | undefined;
  readonly rings: readonly Vring[];
  readonly pages: DoorbellPages;
  #unwatchModes: () => void = () => {};
  #hasRun = false;

  /** @param place where the device is found, which may change to another one that carries all that was negotiated */
  constructor(
    private readonly place: DevicePlace,
    readonly logger: Log,
    readonly loop: EventLoop,
    /** Undefined where messages are not told of. */
    readonly trace?: Trace | undefined,
  ) {
    this.rings = Array.from({ length: this.device.maxQueues }, (_, index) => new Vring(index));
    this.pages = new DoorbellPages(place, this, logger);
    this.#watchModes();
  }

  get device(): VdpaDevice {
    return this.place.device;
  }

  /** Virtio device type. */
  get deviceType(): number {
    return this.device.type === "net" ? 1 : 2;
  }

  /** Feature bits that may be negotiated, with the vhost-user ones. */
  get offeredFeatures(): bigint {
    const log = this.device.canLog ? VHOST_F_LOG_ALL : 0n;
    return this.device.getFeatures() | VHOST_USER_F_PROTOCOL_FEATURES | log;
  }

  get offeredProtocolFeatures(): bigint {
    return protocolFeaturesOf(this.device);
  }

  /** Negotiated virtio features, without the vhost-user bits; 0 before SET_FEATURES. */
  get virtioFeatures(): bigint {
    return (this.features ?? 0n) & this.device.getFeatures() & ~VHOST_F_LOG_ALL;
  }

  /** Whether rings are packed; undefined until SET_FEATURES where both layouts are offered. */
  get packed(): boolean | undefined {
    if (this.features !== undefined) return F.hasFeature(this.features, F.VIRTIO_F_RING_PACKED);
    return F.hasFeature(this.device.getFeatures(), F.VIRTIO_F_RING_PACKED) ? undefined : false;
  }

  negotiated(feature: ProtocolFeature): boolean {
    return ((this.protocolFeatures >> BigInt(PROTOCOL_F[feature])) & 1n) === 1n;
  }

  /** The ring of an index that a message gives. */
  ring(index: number): Vring {
    const ring = this.rings[index];
    if (ring) return ring;
    throw new OperatorError(`ring ${index}`, {
      why: `the device has ${this.rings.length}, numbered from 0`,
      kind: "protocol",
    });
  }

  /** LOG_ALL: what the device writes is to be logged. */
  get logsAll(): boolean {
    return ((this.features ?? 0n) & VHOST_F_LOG_ALL) !== 0n;
  }

  /** Whether anything is to be logged now. */
  get logging(): boolean {
    return this.logsAll || this.rings.some((ring) => ring.logUsed);
  }

  /** Logs what features, log and rings ask for now. Throws where a running device can not, with nothing changed. */
  updateLogging(): void {
    const logging = wantedLogging(this);
    if (logging) {
      this.pages.without(() => this.device.setLogging(logging));
    } else {
      this.device.setLogging(undefined);
      this.pages.offer();
    }
  }

  /**
   * Has `move` bring the rings to another device and put that in its place. With an error the device is the one before,
   * and runs on or has stopped itself.
   */
  moveBy(move: () => void): void {
    this.pages.without(() => {
      try {
        move();
        this.#watchModes();
      } catch (error) {
        if (!this.device.running && this.rings.some((ring) => ring.running)) this.#deviceStoppedItself();
        throw error;
      }
    });
  }

  /** Relays all rings from now on, or lets the device take over those that it can. */
  holdInRelay(on: boolean): void {
    if (on) {
      this.pages.without(() => this.device.holdInRelay(true));
    } else {
      this.device.holdInRelay(false);
      this.pages.offer();
    }
  }

  /** Sends the frame from which the network learns the guest's address. Throws where it was not sent. */
  announce(mac: Uint8Array): void {
    // The ring may come back relayed, with another doorbell.
    this.pages.without(() => this.device.announce(mac));
  }

  /** Starts the device, or rings that a running device lacks, as far as everything is there. Throws what fails. */
  update(): void {
    const { device } = this;
    if (!device.running) {
      if (this.rings.some((ring) => ring.running)) this.#deviceStoppedItself();
      if (!this.#ready()) return;
      this.#configure();
    } else {
      for (const ring of this.#startable()) {
        device.startVring(this.#config(ring));
        ring.running = true;
      }
    }
    this.pages.offer();
  }

  /** Stops one ring and keeps its position. Returns the position. */
  stopRing(ring: Vring): number {
    if (ring.running && this.device.running) {
      this.pages.withdraw([ring]);
      try {
        ring.base = this.device.stopVring(ring.index);
      } catch (error) {
        // Nothing may write guest memory once the front-end has its answer.
        this.stopDevice();
        throw error;
      }
    }
    ring.stop();
    // All rings stopped: suspended. A reset device starts afresh, perhaps with other features.
    if (this.device.running && !this.rings.some((other) => other.running)) this.device.stop();
    return ring.base ?? 0;
  }

  /** Resets the device: all rings are stopped. */
  stopDevice(): void {
    this.pages.withdraw();
    this.device.stop();
    for (const ring of this.rings) ring.stop();
    this.#hasRun = false;
  }

  /** Ends the session: device reset, memory unmapped, every fd closed. Goes on after an error and logs it. */
  close(): void {
    const steps = [
      () => this.#unwatchModes(),
      () => this.stopDevice(),
      () => this.device.setLogging(undefined),
      () => this.device.memory.clear(),
      () => this.pages.close(),
      () => this.log?.close(),
      () => this.stateTransfer?.close(),
      ...this.rings.map((ring) => () => ring.close()),
    ];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        this.logger.error(`closing the front-end's session: ${messageOf(error)}`, {
          event: "cleanup_failed",
          error: messageOf(error),
        });
      }
    }
  }

  /** Its rings' positions are gone with it: each must be set up and kicked again, and the driver is told. */
  #deviceStoppedItself(): void {
    for (const ring of this.rings.filter((candidate) => candidate.running)) ring.stop();
    this.#hasRun = false;
    this.#needsReset();
  }

  #needsReset(): void {
    this.status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
    if (this.negotiated("STATUS")) this.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
  }

  #ready(): boolean {
    return isReady({
      type: this.device.type,
      features: this.features,
      regions: this.device.memory.count,
      hasStatus: this.negotiated("STATUS"),
      status: this.status,
      hasRun: this.#hasRun,
      rings: this.rings,
      awaitsLog: this.logsAll && this.log === undefined,
    });
  }

  /** Rings to start now, among those that the features use. */
  #startable(): Vring[] {
    return usedRings(this.device.type, this.features, this.rings).filter(
      (ring) => ring.complete && !ring.running,
    );
  }

  #configure(): void {
    const offersVersion1 = F.hasFeature(this.device.getFeatures(), F.VIRTIO_F_VERSION_1);
    try {
      if (offersVersion1 && !F.hasFeature(this.virtioFeatures, F.VIRTIO_F_VERSION_1)) {
        throw new OperatorError("the guest's driver did not accept VIRTIO_F_VERSION_1", {
          why: "a legacy driver can not use a modern device",
          remedy: "give the guest a modern device (QEMU: disable-legacy=on) or a newer driver",
          kind: "protocol",
        });
      }
      if (this.logsAll && !this.log) {
        throw new OperatorError("LOG_ALL without a log", {
          why: "the device is to start and SET_LOG_BASE has not come",
          kind: "protocol",
        });
      }
      const rings = this.#startable();
      this.device.setLogging(wantedLogging(this));
      this.device.configure(
        this.virtioFeatures,
        rings.map((ring) => this.#config(ring)),
      );
      for (const ring of rings) ring.running = true;
      this.#hasRun = true;
    } catch (error) {
      this.#needsReset();
      throw error;
    }
  }

  #config(ring: Vring): VringConfig {
    return vringConfig(ring, this.device, this.virtioFeatures);
  }

  /** Modes also change without having been asked for, and pages with them. */
  #watchModes(): void {
    this.#unwatchModes();
    this.#unwatchModes = this.device.watchModes(() => this.pages.offer());
  }
}
