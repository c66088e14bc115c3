import type { Log } from "../../../../src/hw/log.ts";
import type { MappablePage } from "../../../../src/hw/pci-function.ts";
import * as F from "../../../../src/hw/virtio/features.ts";
import { GuestMemory } from "../../../../src/memory/guest-memory.ts";
import type { DeviceLogging, VdpaDevice, VringConfig } from "../../../../src/vdpa/vdpa-device.ts";
import { FakeDma } from "../../memory/fake-dma.ts";

const bits = (...numbers: number[]) => numbers.reduce((all, n) => all | (1n << BigInt(n)), 0n);
export const VERSION_1 = bits(F.VIRTIO_F_VERSION_1);
export const PACKED = bits(F.VIRTIO_F_RING_PACKED);
export const EVENT_IDX = bits(F.VIRTIO_RING_F_EVENT_IDX);
export const MQ = bits(F.VIRTIO_NET_F_MQ);

/** A device that does nothing and remembers everything that was asked of it. */
export class FakeDevice implements VdpaDevice {
  readonly type = "net";
  readonly maxQueues = 8;
  readonly maxMtu = 9000;
  readonly dma = new FakeDma();
  readonly memory: GuestMemory;
  /** Calls in order, such as `configure 0,1` or `stopVring 1`. */
  readonly calls: string[] = [];
  readonly rings = new Map<number, VringConfig>();
  readonly features = VERSION_1 | PACKED | EVENT_IDX | MQ;
  /** What `stopVring` tells. */
  readonly positions = new Map<number, number>();
  /** Pages that may be given away. */
  readonly notifyAreas = new Map<number, MappablePage>();
  /** Name of the operation that fails. */
  failing: string | undefined;
  running = false;
  needsReset = false;
  canLog = true;
  canAnnounce = true;
  holdInRelay(): void {}
  announce(mac: Uint8Array): void {
    this.#called("announce", Buffer.from(mac).toString("hex"));
  }
  logging: DeviceLogging | undefined;
  negotiated = 0n;
  readonly modeWatchers = new Set<() => void>();

  constructor(log: Log) {
    this.memory = new GuestMemory(this.dma, { log });
  }

  prepare(): void {}
  getQueueNum = () => this.maxQueues / 2;
  getFeatures = () => this.features;
  getProtocolFeatures = () => (1n << 64n) - 1n;
  maxQueueSize = () => 1024;
  baseProblem(features: bigint, base: number): string | undefined {
    const fresh = (features & PACKED) !== 0n ? 0x80008000 : 0;
    return base === fresh ? undefined : `no ring can start at 0x${base.toString(16)}`;
  }

  configure(features: bigint, vrings: readonly VringConfig[]): void {
    this.#called("configure", vrings.map((vring) => vring.index).join());
    this.negotiated = features;
    for (const vring of vrings) this.rings.set(vring.index, vring);
    this.running = true;
  }
  startVring(vring: VringConfig): void {
    this.#called("startVring", vring.index);
    this.rings.set(vring.index, vring);
  }
  stopVring(index: number): number {
    this.#called("stopVring", index);
    this.rings.delete(index);
    return this.positions.get(index) ?? 0;
  }
  setVringState(index: number, enabled: boolean): void {
    this.#called("setVringState", index, enabled);
  }
  setVringKick(index: number, fd: number): void {
    this.#called("setVringKick", index, fd >= 0);
  }
  setVringCall(index: number, fd: number): void {
    this.#called("setVringCall", index, fd >= 0);
  }
  setLogging(logging: DeviceLogging | undefined): void {
    const before = this.logging;
    if (!logging && !before) return;
    const rings = [...(logging?.usedRings ?? [])].map(([index, gpa]) => `${index}@${gpa.toString(16)}`);
    this.#called("setLogging", logging ? (logging.data ? "data" : "rings") : "off", ...rings);
    this.logging = logging;
  }
  stop(): void {
    // Called at every end; only a running device has something to tell.
    if (this.running) this.#called("stop");
    this.running = false;
    this.rings.clear();
  }
  getVfioGroupFd = () => undefined;
  getVfioDeviceFd = () => undefined;
  getNotifyArea = (index: number) => this.notifyAreas.get(index);
  setHostNotifier(index: number, active: boolean): void {
    this.#called("setHostNotifier", index, active);
  }

  watchModes(changed: () => void): () => void {
    this.modeWatchers.add(changed);
    return () => this.modeWatchers.delete(changed);
  }

  /** The calls since the last look. */
  takeCalls(): string[] {
    return this.calls.splice(0);
  }

  #called(name: string, ...args: unknown[]): void {
    this.calls.push([name, ...args].join(" "));
    if (this.failing === name) throw new Error(`${name} failed on purpose`);
  }
}
