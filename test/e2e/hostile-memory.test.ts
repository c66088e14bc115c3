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

stage.item(21, "memory added while rings run can be used at once", async () => {
  const guest = await stage.guest();
  await stage.passFrames(guest);
  const hotplug = { gpa: 0x20_0000_0000n, uva: 0x7c00_0000_0000n, size: 1 << 20, file: "hotplug" };
  const [fresh] = createRegions([hotplug]);
  try {
    await guest.fe.addMemReg(fresh!.description, fresh!.fd);
    guest.pairs[0]!.useTransmitBuffersIn(fresh!);
    await passFrames(guest, { frames: 200, from: 1000 });
  } finally {
    fresh!.close();
  }
});

stage.item(21, "the device does not see memory that was removed while rings run", async () => {
  const guest = await stage.guest();
  await stage.passFrames(guest);
  const hotplug = { gpa: 0x20_0000_0000n, uva: 0x7c00_0000_0000n, size: 1 << 20, file: "hotplug" };
  const [gone] = createRegions([hotplug]);
  try {
    await guest.fe.addMemReg(gone!.description, gone!.fd);
    guest.pairs[0]!.useTransmitBuffersIn(gone!);
    await passFrames(guest, { frames: 200, from: 1000 });
    await guest.fe.remMemReg(gone!.description);
    const mark = stage.daemon.log.length;
    const [report] = await exchange(guest, { frames: 8, from: 2000, patienceMs: 300 });
    expect(report!.returned).toBe(0);
    await stage.daemon.logged(/fault|NEEDS_RESET|not mapped|nothing is mapped|reset/i, mark);
  } finally {
    gone!.close();
  }
});

stage.item(21, "removing the memory of a running ring is refused", async () => {
  const guest = await stage.guest();
  const holder = guest.regions.find((region) => {
    const { gpa, size } = region.description;
    const at = guest.pairs[0]!.tx.ring.desc.gpa;
    return gpa <= at && at < gpa + size;
  })!;
  const mark = stage.daemon.log.length;
  expect(await guest.fe.ack(REM_MEM_REG, memReg(holder.description))).not.toBe(0n);
  await stage.daemon.logged(/ring/, mark);
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
  const broken: [RegionDescription, number][] = [
    [region({ gpa: 0xfee0_0000n, uva: 0x7b00_0000_0000n }), memory()],
    [region({ gpa: 0x30_0000_0000n, uva: 0x7b00_0000_0000n, size: 2n * MIB }), memory()],
    [region({ gpa: 0x30_0000_0000n, uva: 0x7b00_0000_0000n }), stage.fd(createEventfd())],
    [region({ gpa: 0x30_0000_0000n, uva: 0x7b00_0000_0000n }), stage.fd(oddFd.readOnly())],
  ];
  for (const [bad, fd] of broken)
    expect(await guest.fe.ack(SET_MEM_TABLE, memTable([...good, bad]), [...fds, fd])).not.toBe(0n);
  await passFrames(guest, { frames: 200, from: 1000 });
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
