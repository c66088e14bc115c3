import { Chain } from "../../../src/hw/sim/chain.ts";
import type { DeviceRing } from "../../../src/hw/sim/device-ring.ts";
import { LocalMemory } from "../../../src/hw/sim/local-memory.ts";
import { PackedRing } from "../../../src/hw/sim/packed-ring.ts";
import { SplitRing } from "../../../src/hw/sim/split-ring.ts";
import { createRelay } from "../../../src/relay/create-relay.ts";
import { relayBytes } from "../../../src/relay/device-memory.ts";
import type { GuestRing, RelayLogging, RingPosition, RingRelay } from "../../../src/relay/relay.ts";
import {
  PackedReference,
  type Piece,
  type ReferenceDriver,
  SplitReference,
  TABLE_BYTES,
} from "./reference-driver.ts";
import { FIRST_GPA, PAGE, Stage } from "./stage.ts";

const SLOT = 3000;
const SLOTS = 96;
const MAX_CHAIN = 8;

export interface ModelOptions {
  readonly packed: boolean;
  readonly size: number;
  readonly start: number;
  readonly wrap: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  /** Whether guest memory can be sealed, so that it is accessed in place. */
  readonly sealable: boolean;
}

interface Offered {
  readonly pieces: readonly Piece[];
  readonly writable: number;
}

interface Held {
  readonly chain: Chain;
  readonly token: number;
}

const up = (n: number, to: number) => Math.ceil(n / to) * to;

/** A reference driver, a relay and a device with nothing around them; the test says who acts when. */
export class Model {
  readonly stage: Stage;
  readonly ring: GuestRing;
  readonly driver: ReferenceDriver;
  relay: RingRelay;
  device!: DeviceRing;
  /** What the device has completed, in its order, and what the driver has got. */
  readonly deviceOrder: string[] = [];
  readonly reaped: string[] = [];
  readonly offered = new Map<number, Offered>();
  held: Held[] = [];
  added = 0;
  logging = false;
  readonly #tokenOfId = new Map<number, number>();
  readonly #tokenOfGpa = new Map<number, number>();
  readonly #slotsOf = new Map<number, number[]>();
  readonly #freeSlots = Array.from({ length: SLOTS }, (_, i) => i);
  readonly #buffers: number;
  readonly #local = new LocalMemory(SLOT * MAX_CHAIN);
  #unpublished: string[] = [];
  #stamp = 1;
  #closed = false;

  constructor(readonly options: ModelOptions) {
    const { packed, size, start, wrap } = options;
    const driverAt = up(16 * size, PAGE);
    const deviceAt = driverAt + up(packed ? 4 : 6 + 2 * size, PAGE);
    const tablesAt = deviceAt + up(packed ? 4 : 6 + 8 * size, PAGE);
    const buffersAt = tablesAt + (options.indirect ? up(size * TABLE_BYTES, PAGE) : 0);
    this.stage = new Stage(Math.ceil((buffersAt + SLOT * SLOTS) / PAGE), options.sealable);
    this.#buffers = FIRST_GPA + buffersAt;
    this.ring = {
      size,
      descGpa: BigInt(FIRST_GPA),
      driverGpa: BigInt(FIRST_GPA + driverAt),
      deviceGpa: BigInt(FIRST_GPA + deviceAt),
      eventIdx: options.eventIdx,
      indirect: options.indirect,
      inOrder: false,
    };
    const tables = FIRST_GPA + tablesAt;
    this.driver = packed
      ? new PackedReference(this.stage, this.ring, tables, start, wrap)
      : new SplitReference(this.stage, this.ring, tables, start);
    this.relay = this.newRelay();
    const half = { availPosition: start, availWrap: wrap };
    this.begin({ ...half, usedPosition: start, usedWrap: wrap });
  }

  newRelay(): RingRelay {
    const { packed, size } = this.options;
    const buffer = this.stage.buffer(relayBytes(packed, size));
    return createRelay(packed, { ring: this.ring, memory: this.stage.memory, buffer, offset: 0 });
  }

  /** Starts relay and device, from the guest's position and afresh. */
  protected begin(position: RingPosition): void {
    this.relay.start(position);
    this.startDevice(this.relay.deviceQueue);
  }

  /** A fresh device, which holds nothing, on this ring. */
  protected startDevice({ desc, driver, device }: RingRelay["deviceQueue"]): void {
    const setup = {
      size: this.ring.size,
      desc: Number(desc),
      driver: Number(driver),
      device: Number(device),
      eventIdx: this.ring.eventIdx,
      indirect: this.ring.indirect,
    };
    this.device = this.options.packed
      ? new PackedRing(this.stage.port, setup)
      : new SplitRing(this.stage.port, setup);
    this.held = [];
    this.#unpublished = [];
  }

  /** Adds a chain of a shape that `seed` determines, if there is room; without `publish`. */
  add(seed: number): boolean {
    const want = 1 + (seed % 4);
    const indirect = this.options.indirect && (seed >> 2) % 2 === 1;
    const count = indirect ? want : Math.min(want, this.ring.size);
    if (this.driver.free < (indirect ? 1 : count) || this.#freeSlots.length < count) return false;
    const slots = this.#freeSlots.splice((seed >> 3) % (this.#freeSlots.length - count + 1), count);
    const readable = (seed >> 4) % (count + 1);
    const pieces = slots.map((slot, i) => ({
      gpa: this.#buffers + slot * SLOT + ((seed >> 5) % 100),
      length: 1 + ((seed * (i + 3)) % (SLOT - 101)),
      write: i >= readable,
    }));
    const token = this.added++;
    const id = this.driver.add(pieces, indirect);
    this.#tokenOfId.set(id, token);
    this.#tokenOfGpa.set(pieces[pieces.length - 1]!.gpa, token);
    this.#slotsOf.set(token, slots);
    const writable = pieces.reduce((sum, { length, write }) => sum + (write ? length : 0), 0);
    this.offered.set(token, { pieces, writable });
    return true;
  }

  take(count: number): number {
    let taken = 0;
    for (; taken < count; taken++) {
      const chain = new Chain(64);
      if (!this.device.peek(chain)) break;
      const token = this.#tokenOfGpa.get(this.stage.port.d1 * 2 ** 32 + this.stage.port.d0);
      if (token === undefined) throw new Error("the device got a chain that nobody offered");
      if (chain.writeBytes !== this.offered.get(token)!.writable) throw new Error("the chain has changed");
      this.device.take(chain);
      this.held.push({ chain, token });
    }
    return taken;
  }

  /** The device fills a chain that it holds and, unless `onlyWrite`, completes it. */
  finish(pick: number, amount: number, onlyWrite = false): void {
    if (this.held.length === 0) return;
    const at = pick % this.held.length;
    const { chain, token } = this.held[at]!;
    const written = chain.writeBytes === 0 ? 0 : amount % (chain.writeBytes + 1);
    this.#local.u8.fill(this.#stamp++ & 0xff, 0, chain.writeBytes);
    // More than what is reported: that is allowed, and has to be logged.
    chain.write(this.stage.port, this.#local, 0, Math.min(chain.writeBytes, written + (amount % 7)));
    if (onlyWrite) return;
    this.held.splice(at, 1);
    this.device.complete(chain.id, chain.slots, written);
    const entry = `${token}:${written}`;
    if (this.options.packed) this.deviceOrder.push(entry);
    else this.#unpublished.push(entry);
  }

  publish(): boolean {
    this.deviceOrder.push(...this.#unpublished.splice(0));
    return this.device.publish();
  }

  reap(): number {
    let count = 0;
    for (let used = this.driver.reap(); used; used = this.driver.reap()) {
      const token = this.#tokenOfId.get(used.id)!;
      this.reaped.push(`${token}:${used.length}`);
      this.#freeSlots.push(...this.#slotsOf.get(token)!);
      const { pieces } = this.offered.get(token)!;
      this.#tokenOfGpa.delete(pieces[pieces.length - 1]!.gpa);
      count++;
    }
    return count;
  }

  /** The relay gives the device what is available; how much. */
  forward(): number {
    const moved = this.relay.forward();
    this.relay.kickWanted();
    return moved;
  }

  /** The relay gives the driver what was used; how much. */
  complete(): number {
    const moved = this.relay.complete();
    this.relay.callWanted();
    return moved;
  }

  /** The relay asks one side for notifications, or for none. */
  notify(side: "guest" | "device", on: boolean): void {
    if (side === "guest") this.relay.setGuestKicks(on);
    else this.relay.setDeviceCalls(on);
  }

  /** The device is reset and the ring goes on from its base, in the same relay or another one. */
  restart(otherRelay: boolean): void {
    this.relay.complete();
    const position = this.relay.closeHoles();
    if (otherRelay) {
      this.relay = this.newRelay();
      if (this.logging) this.relay.setLogging(this.relayLogging);
    }
    this.begin(position);
  }

  protected get relayLogging(): RelayLogging {
    return { log: this.stage.log, data: true, usedRingGpa: this.ring.deviceGpa };
  }

  setLogging(on: boolean): void {
    this.logging = on;
    if (on) this.stage.snapshot();
    this.relay.setLogging(on ? this.relayLogging : undefined);
  }

  /** Lets everybody work until nothing moves any more. */
  settle(): void {
    this.relay.limitFeed(false);
    this.driver.publish();
    for (let moved = 1; moved > 0; ) {
      moved = this.forward() + this.take(1e6);
      while (this.held.length > 0) this.finish(0, 5);
      this.publish();
      moved += this.complete() + this.reap();
      if (this.relay.fault) throw this.relay.fault;
    }
  }

  /** Pages that may be logged: what was lent to the device, and the rings. */
  allowedPages(): Set<number> {
    const allowed = new Set<number>();
    const allow = (gpa: number, length: number) => {
      for (let p = Math.floor(gpa / PAGE); p <= Math.floor((gpa + length - 1) / PAGE); p++) allowed.add(p);
    };
    for (const { pieces } of this.offered.values()) {
      for (const { gpa, length, write } of pieces) if (write) allow(gpa, length);
    }
    const { size } = this.ring;
    const { packed } = this.options;
    allow(Number(this.ring.deviceGpa), packed ? 4 : 6 + 8 * size);
    if (packed) allow(Number(this.ring.descGpa), 16 * size);
    else allow(Number(this.ring.driverGpa), 4 + 2 * size);
    return allowed;
  }

  /** A second call does nothing. */
  close(): void {
    if (!this.#closed) this.stage.close();
    this.#closed = true;
  }
}
