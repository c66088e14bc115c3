import type { FrontEnd } from "./front-end.ts";
import type { Region } from "./guest-memory.ts";
import type { NetQueue } from "./net-pair.ts";
import { Feature, Protocol, Request, Status, type VringAddresses } from "./protocol.ts";

/** Everything a sequence needs to know about the guest. */
export interface Machine {
  readonly regions: readonly Region[];
  readonly queues: readonly NetQueue[];
  /** Queue pairs enabled at the start. */
  readonly enabledPairs: number;
  /** Virtio features that the guest would like, cut down to what is offered. */
  readonly wanted: bigint;
  /** Protocol features likewise. */
  readonly wantedProtocol: bigint;
  readonly packed: boolean;
  /** Position a ring starts at, when not at its beginning. */
  readonly base?: number | undefined;
  /** The same for each ring by its index, as a stop returned them. */
  bases?: readonly number[] | undefined;
  /** Falsifies the addresses of a ring, in tests of bad input. */
  bend?: (index: number, addresses: VringAddresses) => VringAddresses;
}

/** The order of messages of one kind of front-end. */
export interface Sequence {
  /** Negotiates on a new connection; returns the features of the session. */
  connect(fe: FrontEnd, machine: Machine): Promise<bigint>;
  /** Brings the device to DRIVER_OK. */
  start(fe: FrontEnd, machine: Machine, features: bigint): Promise<void>;
  /** Stops all rings and resets; returns their positions. */
  stop(fe: FrontEnd, machine: Machine): Promise<number[]>;
}

const has = (fe: FrontEnd, bit: bigint) => (fe.protocolFeatures & bit) !== 0n;

async function negotiateProtocol(fe: FrontEnd, offered: bigint, wanted: bigint): Promise<void> {
  if ((offered & Feature.PROTOCOL_FEATURES) === 0n) return;
  await fe.setProtocolFeatures((await fe.getProtocolFeatures()) & wanted);
}

async function setMemory(fe: FrontEnd, regions: readonly Region[], bySlot: boolean): Promise<void> {
  if (bySlot) {
    for (const region of regions) await fe.addMemReg(region.description, region.fd);
    return;
  }
  await fe.setMemTable(
    regions.map((region) => region.description),
    regions.map((region) => region.fd),
  );
}

/** NUM, BASE, ADDR, KICK and CALL of one ring, in QEMU's order. */
export async function startRing(fe: FrontEnd, queue: NetQueue, machine?: Machine) {
  const { index, ring } = queue;
  const addresses = {
    descUva: ring.desc.uva,
    usedUva: ring.used.uva,
    availUva: ring.avail.uva,
    logGpa: ring.used.gpa,
  };
  await fe.setVringNum(index, queue.announcedSize);
  await fe.setVringBase(index, machine?.bases?.[index] ?? machine?.base ?? ring.freshBase);
  await fe.setVringAddr(index, machine?.bend?.(index, addresses) ?? addresses);
  await fe.setVringFd(Request.SET_VRING_KICK, index, queue.kickFd);
  await fe.setVringFd(Request.SET_VRING_CALL, index, queue.callFd);
}

async function getBases(fe: FrontEnd, machine: Machine): Promise<number[]> {
  const bases: number[] = [];
  for (const { index } of machine.queues) bases.push(await fe.getVringBase(index));
  return bases;
}

/** QEMU 8: features and status per pair, enable before the rings are set up. */
export const qemu: Sequence = {
  async connect(fe, machine) {
    const offered = await fe.getFeatures();
    await negotiateProtocol(fe, offered, machine.wantedProtocol);
    if (has(fe, Protocol.MQ)) await fe.getQueueNum();
    if (has(fe, Protocol.CONFIGURE_MEM_SLOTS)) await fe.getMaxMemSlots();
    await fe.setOwner();
    const features = await fe.getFeatures();
    for (const { index, callFd } of machine.queues)
      await fe.setVringFd(Request.SET_VRING_CALL, index, callFd);
    if ((features & Feature.PROTOCOL_FEATURES) !== 0n) {
      for (const { index } of machine.queues) await fe.setVringEnable(index, index < 2);
    }
    return features & (machine.wanted | Feature.PROTOCOL_FEATURES);
  },

  async start(fe, machine, features) {
    const status = has(fe, Protocol.STATUS);
    const bySlot = has(fe, Protocol.CONFIGURE_MEM_SLOTS);
    if ((features & Feature.PROTOCOL_FEATURES) !== 0n) {
      for (const { index } of machine.queues)
        await fe.setVringEnable(index, index < 2 * machine.enabledPairs);
    }
    for (let pair = 0; 2 * pair < machine.queues.length; pair++) {
      await fe.setFeatures(features);
      if (status) {
        await fe.getStatus();
        await fe.setStatus(Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK);
        const now = Number(await fe.getStatus());
        if ((now & Status.FEATURES_OK) === 0) throw new Error("the back-end did not accept the features");
      }
      if (!bySlot) await setMemory(fe, machine.regions, false);
      else if (pair === 0) await setMemory(fe, machine.regions, true);
      for (const queue of machine.queues.slice(2 * pair, 2 * pair + 2)) await startRing(fe, queue, machine);
    }
    if (status)
      await fe.setStatus(Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.DRIVER_OK);
    await fe.barrier();
  },

  async stop(fe, machine) {
    const bases = await getBases(fe, machine);
    if (has(fe, Protocol.STATUS)) await fe.setStatus(0);
    if (has(fe, Protocol.RESET_DEVICE)) await fe.resetDevice();
    if (has(fe, Protocol.CONFIGURE_MEM_SLOTS)) {
      for (const region of machine.regions) await fe.remMemReg(region.description);
    }
    await fe.barrier();
    return bases;
  },
};

/** DPDK's virtio-user: call fds before the features, one enable per ring at the end, half a base for packed rings. */
export const dpdk: Sequence = {
  async connect(fe, machine) {
    await fe.setOwner();
    const offered = await fe.getFeatures();
    await negotiateProtocol(fe, offered, machine.wantedProtocol);
    if (has(fe, Protocol.MQ)) await fe.getQueueNum();
    return offered & (machine.wanted | Feature.PROTOCOL_FEATURES);
  },

  async start(fe, machine, features) {
    const status = has(fe, Protocol.STATUS);
    const step = async (bits: number) => {
      if (status) await fe.setStatus(bits);
    };
    await step(0);
    await step(Status.ACKNOWLEDGE);
    await step(Status.ACKNOWLEDGE | Status.DRIVER);
    for (const { index, callFd } of machine.queues)
      await fe.setVringFd(Request.SET_VRING_CALL, index, callFd);
    await fe.setFeatures(features);
    await step(Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK);
    await setMemory(fe, machine.regions, false);
    for (const { index, ring, kickFd } of machine.queues) {
      await fe.setVringNum(index, ring.size);
      await fe.setVringBase(index, machine.bases?.[index] ?? machine.base ?? (machine.packed ? 0x8000 : 0));
      await fe.setVringAddr(index, {
        descUva: ring.desc.uva,
        usedUva: ring.used.uva,
        availUva: ring.avail.uva,
      });
      await fe.setVringFd(Request.SET_VRING_KICK, index, kickFd);
    }
    if ((features & Feature.PROTOCOL_FEATURES) !== 0n) {
      for (const { index } of machine.queues)
        await fe.setVringEnable(index, index < 2 * machine.enabledPairs);
    }
    await step(Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.DRIVER_OK);
    await fe.barrier();
  },

  async stop(fe, machine) {
    for (const { index } of machine.queues) await fe.setVringEnable(index, false);
    const bases = await getBases(fe, machine);
    if (has(fe, Protocol.STATUS)) await fe.setStatus(0);
    await fe.barrier();
    return bases;
  },
};
