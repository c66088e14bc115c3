import { dlopen, FFIType, ptr } from "bun:ffi";
import { join } from "node:path";
import { checked } from "../../src/hw/ffi/errno.ts";
import { EPOLLIN, EventLoop } from "../../src/hw/ffi/event-loop.ts";
import { createEventfd, drainEventfd, signalEventfd } from "../../src/hw/ffi/eventfd.ts";
import { O_CLOEXEC } from "../../src/hw/ffi/fd.ts";
import { libc } from "../../src/hw/ffi/libc.ts";
import type { DmaMemory } from "../../src/hw/pci-function.ts";
import { Counters } from "../../src/vdpa/counters.ts";
import { RelayedRing, type RelayParts } from "../../src/vdpa/relayed-ring.ts";
import { CollectedLog } from "../support/virtio-driver/collected-log.ts";
import type { Stage } from "../unit/relay/stage.ts";
import { compileC, setupOf } from "./relay-c.ts";
import { median, ring, SIZE, stageFor } from "./relay-setup.ts";

/** Round trips of one run: few, as each run's threads find other places, which differ more than relays do. */
const TRIPS = 500;
/** How long a run may take on a busy machine. */
const PATIENCE_MS = 120_000;

/** Waits for one round trip are blocking reads, so that these eventfds are blocking ones. */
const blockingEventfd = () => checked(libc.eventfd(0, O_CLOEXEC), "eventfd");

/** Eventfds between guest, relay and device. */
interface Wires {
  readonly kick: number;
  readonly call: number;
  readonly doorbell: number;
  interrupt: number;
}

const wires = (): Wires => ({
  kick: createEventfd(),
  call: blockingEventfd(),
  doorbell: blockingEventfd(),
  interrupt: blockingEventfd(),
});

/** Whose relay is between the guest and the device, and where these are. */
interface Contender {
  readonly stage: Stage;
  /** Host addresses of the rings that the device works on; a C relay has its own. */
  readonly device: { readonly desc: number; readonly avail: number; readonly used: number };
  readonly wires: Wires;
  /** 1: the relay is C's; and whether it asks by poll before it signals the guest. */
  readonly relay: number;
  readonly guarded: number;
  /** Entries that have been through the guest's ring. */
  readonly moved: { count: number };
}

/** A run of round trips of this many entries each; the result is the median in microseconds. */
export type RoundTrips = (batch: number) => number;

/**
 * Round trips through the relay of this project as it is wired in a device's worker (its event loop, its relayed ring,
 * its eventfds), and through an epoll loop in C.
 */
export function roundTrips(
  directory: string,
  packed: boolean,
): { ours: RoundTrips; c: RoundTrips; unguardedC: RoundTrips } {
  const library = compileC("relay-round-trip.c", join(directory, "trip.so"), [
    "-shared",
    "-fPIC",
    "-pthread",
  ]);
  const { symbols } = dlopen(library, {
    trip_start: { args: [FFIType.ptr], returns: FFIType.i32 },
    trip_join: { args: [], returns: FFIType.i32 },
  });
  const loop = new EventLoop();
  const done = createEventfd();
  let ended = false;
  loop.add(done, EPOLLIN, () => {
    drainEventfd(done);
    ended = true;
  });

  const run = ({ stage, device, wires: w, relay, guarded, moved }: Contender, batch: number) => {
    const ns = new Float64Array(new ArrayBuffer(8 * TRIPS));
    const trip = BigUint64Array.from([
      ...setupOf(stage),
      ...[device.desc, device.avail, device.used].map(BigInt),
      ...[w.kick, w.call, w.doorbell, w.interrupt, done, batch, TRIPS, ptr(ns), relay, guarded].map(BigInt),
      // A C relay gives the device a new ring each time.
      ...[packed ? 1 : 0, moved.count, relay ? 0 : moved.count].map(BigInt),
    ]);
    moved.count += batch * TRIPS;
    ended = false;
    // SAFETY: `ns` and the stage are referenced until the threads have ended.
    if (symbols.trip_start(ptr(trip)) !== 0) throw new Error("the round trip did not start");
    const deadline = performance.now() + PATIENCE_MS;
    while (!ended) {
      loop.runOnce(1000);
      if (performance.now() > deadline) throw new Error("a round trip does not end");
    }
    if (symbols.trip_join() !== 0) throw new Error("the round trip did not end");
    return median([...ns]) / 1000;
  };

  const { relayed, log, ...ring } = relayedRing(loop, packed);
  const ours = { ...ring, relay: 0, moved: { count: 0 } };
  const { stage } = stageFor(packed);
  const nowhere = { desc: 0, avail: 0, used: 0 };
  const c = { stage, device: nowhere, wires: wires(), relay: 1, moved: { count: 0 } };
  return {
    ours: (batch) => {
      const us = run({ ...ours, guarded: 1 }, batch);
      if (log.lines.length > 0) throw new Error(`${relayed.state().mode}: ${log.lines.join("; ")}`);
      return us;
    },
    c: (batch) => run({ ...c, guarded: 1 }, batch),
    unguardedC: (batch) => run({ ...c, guarded: 0 }, batch),
  };
}

/** A relayed ring of the product on a device that consists of two eventfds. */
export function relayedRing(loop: EventLoop, packed: boolean) {
  const { stage } = stageFor(packed);
  const w = wires();
  const log = new CollectedLog();
  const mapped: { iova: bigint; memory: DmaMemory }[] = [];
  const device = { desc: 0, avail: 0, used: 0 };
  const hvaOf = (iova: bigint) => {
    const { iova: first, memory } = mapped[0]!;
    return memory.hva + Number(iova - first);
  };
  const parts = {
    loop,
    log,
    memory: stage.memory,
    counters: new Counters(),
    transport: {
      fn: { dma: { ...stage.dma, map: (iova: bigint, memory: DmaMemory) => mapped.push({ iova, memory }) } },
      setupQueue: (_: number, queue: { desc: bigint; driver: bigint; device: bigint }) => {
        // Of a split ring it is the guest's own.
        if (packed) device.desc = hvaOf(queue.desc);
        device.avail = hvaOf(queue.driver);
        device.used = hvaOf(queue.device);
      },
      enableQueue: () => {},
      doorbell: () => w.doorbell,
    },
    // As a write to a register: one system call.
    doorbells: { ring: (fd: number) => signalEventfd(fd) },
    interrupts: {
      vectorOf: () => 1,
      connect: (_: number, fd: number) => {
        w.interrupt = fd;
        signalEventfd(fd);
      },
    },
  } as unknown as RelayParts;
  const wrap = packed ? 1 : 0;
  const relayed = new RelayedRing(
    parts,
    {
      ...{ index: 0, size: SIZE, base: 0, kickFd: w.kick, callFd: w.call, enabled: true },
      ...{ descGpa: ring.descGpa, driverGpa: ring.driverGpa, deviceGpa: ring.deviceGpa },
    },
    { packed, eventIdx: ring.eventIdx, indirect: ring.indirect, inOrder: ring.inOrder },
    { availPosition: 0, availWrap: wrap, usedPosition: 0, usedWrap: wrap },
  );
  relayed.setLogging({ log: stage.log, data: true, usedRingGpa: packed ? undefined : ring.deviceGpa });
  relayed.setUp();
  relayed.connect();
  // The device's and the guest's counters are those of the first notifications, which nobody waits for.
  drainEventfd(w.doorbell);
  drainEventfd(w.call);
  return { stage, device, wires: w, log, relayed };
}
