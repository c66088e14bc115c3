import { expect } from "bun:test";
import { createEventfd } from "../../src/hw/ffi/eventfd.ts";
import { closeFd, dupFd, memfd } from "../../src/hw/ffi/fd.ts";
import { PeerClosed } from "../support/front-end/channel.ts";
import type { Guest } from "../support/front-end/guest.ts";
import { createRegions, Region, type RegionPlan } from "../support/front-end/guest-memory.ts";
import {
  memReg,
  memTable,
  Protocol,
  type RegionDescription,
  Request,
} from "../support/front-end/protocol.ts";
import { exchange } from "../support/front-end/traffic.ts";
import { HostileStage } from "./support/hostile-stage.ts";
import { oddFd, UnsealableFile } from "./support/odd-fds.ts";
import { passFrames } from "./support/well-behaved.ts";

const stage = new HostileStage();
const { SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG } = Request;
const MIB = 1n << 20n;
const U64 = 1n << 64n;
const FILE_SIZE = 8 << 20;

const region = (change: Partial<RegionDescription> = {}): RegionDescription => ({
  gpa: 0n,
  size: MIB,
  uva: 0x7f00_0000_0000n,
  mmapOffset: 0n,
  ...change,
});
const second = (change: Partial<RegionDescription> = {}) =>
  region({ gpa: 16n * MIB, uva: 0x7f00_1000_0000n, ...change });
const memory = (size = 1 << 20) => stage.fd(memfd("guest-hostile", size));

/** A table that must be refused, by SET_MEM_TABLE and, for a single region, by ADD_MEM_REG. */
async function refusesTable(log: RegExp, regions: RegionDescription[], fds: number[]): Promise<void> {
  await stage.refuses({ request: SET_MEM_TABLE, payload: memTable(regions), fds, log });
  if (regions.length === 1)
    await stage.refuses({ request: ADD_MEM_REG, payload: memReg(regions[0]!), fds, log });
}

stage.item(15, "an empty table", () =>
  stage.refuses({
    request: SET_MEM_TABLE,
    payload: memTable([]),
    fds: [],
    log: /without regions/,
  }),
);
stage.item(15, "nine regions", () =>
  stage.refuses({
    request: SET_MEM_TABLE,
    payload: memTable(Array.from({ length: 9 }, (_, i) => region({ gpa: BigInt(i) * MIB }))),
    fds: Array.from({ length: 8 }, () => memory()),
    log: /region|bytes/,
    mayClose: true,
  }),
);
for (const count of [0, 2, 9, 0xffff_ffff]) {
  stage.item(15, `a table that says ${count} regions and holds one`, () =>
    stage.refuses({
      request: SET_MEM_TABLE,
      payload: memTable([region()], count),
      fds: [memory()],
      log: /region|bytes|fd|descriptor/,
      mayClose: true,
    }),
  );
}

stage.item(16, "a region of size 0", () => refusesTable(/size is 0/, [region({ size: 0n })], [memory()]));
stage.item(16, "mmap offset + size overflow", () =>
  refusesTable(/wraps|overflow|beyond/, [region({ mmapOffset: U64 - 4096n })], [memory()]),
);
stage.item(16, "a size of nearly 2^64", () =>
  refusesTable(/wraps|overflow|beyond/, [region({ size: U64 - 4096n })], [memory()]),
);

stage.item(17, "a region larger than its file", async () => {
  await refusesTable(/beyond the end/, [region({ size: 2n * MIB })], [memory()]);
  await refusesTable(/beyond the end/, [region({ mmapOffset: MIB })], [memory()]);
});

/** A guest whose memory, rings included, lies in a file that can be truncated. */
function guestIn(file: UnsealableFile, packed: boolean): Promise<Guest> {
  const plan: RegionPlan = { gpa: 4n * MIB, uva: 0x7e00_0000_0000n, size: FILE_SIZE, file: "tmpfs" };
  const regions = [Region.create(plan, dupFd(file.fd), 0)];
  return stage.guest({ regions, packed, without: Protocol.CONFIGURE_MEM_SLOTS });
}

for (const packed of [false, true]) {
  stage.item(17, `the file is truncated while ${packed ? "packed" : "split"} rings run`, async () => {
    const file = new UnsealableFile(FILE_SIZE);
    try {
      const guest = await guestIn(file, packed);
      await stage.passFrames(guest);
      const mark = stage.daemon.log.length;
      file.resize(0);
      // From here on an access to our own map would raise SIGBUS in this process; the kick needs none.
      for (const queue of guest.machine.queues) queue.signal();
      await guest.fe.barrier();
      await stage.daemon.logged(/truncated|fault|NEEDS_RESET|not there|reset/i, mark);
      // The rings' positions are gone with their memory: an answer or a disconnect, but no crash.
      await guest.fe.getVringBase(0).catch((error) => expect(error).toBeInstanceOf(PeerClosed));
    } finally {
      file.close();
    }
  });
}

stage.item(18, "guest and user addresses that wrap around", async () => {
  await refusesTable(/wraps/, [region({ gpa: U64 - 4096n })], [memory()]);
  await refusesTable(/wraps/, [region({ uva: U64 - 4096n })], [memory()]);
});
stage.item(18, "overlapping guest addresses", () =>
  refusesTable(/overlap/, [region(), second({ gpa: MIB - 4096n })], [memory(), memory()]),
);
stage.item(18, "overlapping user addresses", () =>
  refusesTable(/overlap/, [region(), second({ uva: region().uva + MIB - 4096n })], [memory(), memory()]),
);
stage.item(18, "overlap with a region that was added before", async () => {
  const fe = await stage.negotiated();
  await fe.addMemReg(region(), memory());
  const mark = stage.daemon.log.length;
  expect(await fe.ack(ADD_MEM_REG, memReg(second({ gpa: 0n })), [memory()])).not.toBe(0n);
  await stage.daemon.logged(/overlap/, mark);
});

stage.item(19, "a guest address over the interrupt window", () =>
  refusesTable(/0xfee00000/, [region({ gpa: 0xfee0_0000n - 4096n })], [memory()]),
);
stage.item(19, "a guest address beyond the IOMMU's width", async () => {
  await refusesTable(/bits/, [region({ gpa: 1n << 48n })], [memory()]);
  await refusesTable(/bits/, [region({ gpa: 1n << 62n })], [memory()]);
});

stage.item(20, "more regions than there are slots", async () => {
  const fe = await stage.negotiated();
  const slots = Number(await fe.getMaxMemSlots());
  const fd = memory(4096);
  const page = (i: number) =>
    region({ gpa: BigInt(i) << 16n, uva: 0x7f00_0000_0000n + (BigInt(i) << 16n), size: 4096n });
  for (let i = 0; i < slots; i++) await fe.addMemReg(page(i), fd);
  const mark = stage.daemon.log.length;
  expect(await fe.ack(ADD_MEM_REG, memReg(page(slots)), [fd])).not.toBe(0n);
  await stage.daemon.logged(/slot|region/, mark);
  await fe.remMemReg(page(0));
  await fe.addMemReg(page(slots), fd);
});
stage.item(20, "REM of an unknown region and from an empty table", async () => {
  await stage.refuses({ request: REM_MEM_REG, payload: memReg(region()), log: /no region|region/ });
  const fe = await stage.negotiated();
  await fe.addMemReg(region(), memory());
  for (const wrong of [{ gpa: 4096n }, { uva: 4096n }, { size: 4096n }])
    expect(await fe.ack(REM_MEM_REG, memReg(region(wrong)))).not.toBe(0n);
  // The mmap offset is ignored.
  expect(await fe.ack(REM_MEM_REG, memReg(region({ mmapOffset: 4096n })))).toBe(0n);
});

const setTable = (guest: Guest, regions: readonly Region[]) =>
  guest.fe.ack(
    SET_MEM_TABLE,
    memTable(regions.map((region) => region.description)),
    regions.map((region) => region.fd),
  );
/** The two ways to change the table of a guest: each adds or removes one region and returns the ack. */
const WAYS = [
  {
    name: "ADD_MEM_REG and REM_MEM_REG",
    without: 0n,
    add: (guest: Guest, { description, fd }: Region) => guest.fe.ack(ADD_MEM_REG, memReg(description), [fd]),
    remove: (guest: Guest, { description }: Region) => guest.fe.ack(REM_MEM_REG, memReg(description)),
  },
  {
    name: "SET_MEM_TABLE",
    without: Protocol.CONFIGURE_MEM_SLOTS,
    add: (guest: Guest, region: Region) => setTable(guest, [...guest.regions, region]),
    remove: (guest: Guest, gone: Region) =>
      setTable(
        guest,
        guest.regions.filter((region) => region !== gone),
      ),
  },
] as const;
for (const { name, without, add, remove } of WAYS) {
  stage.item(21, `${name}: the device sees memory while it is in the table, and only then`, async () => {
    const guest = await stage.guest({ without });
    await stage.passFrames(guest);
    const { maps } = stage.daemon.holdings();
    const hotplug = { gpa: 0x20_0000_0000n, uva: 0x7c00_0000_0000n, size: 1 << 20, file: "hotplug" };
    const [extra] = createRegions([hotplug]) as [Region];
    try {
      expect(await add(guest, extra)).toBe(0n);
      expect(stage.daemon.holdings().maps).toBe(maps + 1);
      guest.pairs[0]!.useTransmitBuffersIn(extra);
      await passFrames(guest, { frames: 200, from: 1000 });
      expect(await remove(guest, extra)).toBe(0n);
      expect(stage.daemon.holdings().maps).toBe(maps);
      const mark = stage.daemon.log.length;
      const [report] = await exchange(guest, { frames: 8, from: 2000, patienceMs: 300 });
      expect(report!.returned).toBe(0);
      await stage.daemon.logged(/IOVA 0x20[0-9a-f]{8}, where nothing is mapped/, mark);
    } finally {
      extra.close();
    }
  });

  stage.item(21, `${name}: removing the memory of a running ring is refused`, async () => {
    const guest = await stage.guest({ without });
    const at = guest.pairs[0]!.tx.ring.desc.gpa;
    const holder = guest.regions.find(({ description: { gpa, size } }) => gpa <= at && at < gpa + size)!;
    const mark = stage.daemon.log.length;
    expect(await remove(guest, holder)).not.toBe(0n);
    await stage.daemon.logged(/ring 1: .*no memory region/, mark);
    await stage.passFrames(guest);
  });
}

stage.item(21, "a table that moves a running ring to another guest address is refused", async () => {
  const guest = await stage.guest({ without: Protocol.CONFIGURE_MEM_SLOTS });
  const moved = guest.regions.map(({ description }) => ({
    ...description,
    gpa: description.gpa + (1n << 40n),
  }));
  const fds = guest.regions.map((region) => region.fd);
  const mark = stage.daemon.log.length;
  expect(await guest.fe.ack(SET_MEM_TABLE, memTable(moved), fds)).not.toBe(0n);
  await stage.daemon.logged(/moves it to another guest address/, mark);
  await stage.passFrames(guest);
});

stage.item(22, "the same table thousands of times", async () => {
  const guest = await stage.guest({ without: Protocol.CONFIGURE_MEM_SLOTS });
  const before = stage.daemon.holdings();
  for (let i = 0; i < 3000; i++) {
    await guest.fe.setMemTable(
      guest.regions.map((region) => region.description),
      guest.regions.map((region) => region.fd),
    );
    guest.fe.history.length = 0;
  }
  await stage.daemon.backTo(before);
  await stage.passFrames(guest);
});

stage.item(22, "a table that fails half-way leaves the one before", async () => {
  const guest = await stage.guest({ without: Protocol.CONFIGURE_MEM_SLOTS });
  await stage.passFrames(guest);
  const good = guest.regions.map((region) => region.description);
  const fds = guest.regions.map((region) => region.fd);
  const fresh = region({ gpa: 0x28_0000_0000n, uva: 0x7a00_0000_0000n });
  // In the place of a region of the guest's, which must still be there afterwards, comes another file.
  const other = memory(Number(good[2]!.size));
  const at = { gpa: 0x30_0000_0000n, uva: 0x7b00_0000_0000n };
  const broken: [RegionDescription, number][] = [
    [region({ ...at, gpa: 0xfee0_0000n }), memory()],
    [region({ ...at, size: 2n * MIB }), memory()],
    [region(at), stage.fd(createEventfd())],
    [region(at), stage.fd(oddFd.readOnly())],
  ];
  const before = stage.daemon.holdings();
  for (const [bad, fd] of broken) {
    const mark = stage.daemon.log.length;
    const table = memTable([...good, fresh, bad]);
    expect(await guest.fe.ack(SET_MEM_TABLE, table, [fds[0]!, fds[1]!, other, memory(), fd])).not.toBe(0n);
    await stage.daemon.logged(/memory region/, mark);
    await stage.daemon.backTo(before);
  }
  await passFrames(guest, { frames: 200, from: 1000 });
  // Nothing of it is left in the device's table either.
  await guest.fe.setMemTable([...good, fresh], [...fds, memory()]);
  await passFrames(guest, { frames: 200, from: 2000 });
});

for (const [kind, fd] of [
  ["a read-only file", oddFd.readOnly],
  ["write-sealed memory", () => oddFd.writeSealed(1 << 20)],
  ["a directory", oddFd.directory],
  ["a socket", oddFd.socket],
  ["an eventfd", createEventfd],
] as const) {
  stage.item(23, `memory in ${kind}`, () => refusesTable(/memory region|fd/, [region()], [stage.fd(fd())]));
}
stage.item(23, "unaligned addresses, size or offset", async () => {
  for (const change of [{ gpa: 123n }, { size: 5000n }, { mmapOffset: 512n }])
    await refusesTable(/multiple|aligned/, [region(change)], [memory(4 << 20)]);
});
stage.item(23, "an fd closed by us right after the message stays mapped", async () => {
  const guest = await stage.idleGuest();
  const extra = memfd("guest-brief", 1 << 20);
  await guest.fe.addMemReg(region({ gpa: 0x40_0000_0000n }), extra);
  closeFd(extra);
  await guest.start();
  await stage.passFrames(guest);
});
