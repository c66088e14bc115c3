import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { CollectedLog } from "../memory/collected-log.ts";
import { FakeDma } from "../memory/fake-dma.ts";

const SIZE = 32;
const GPA = 0x1000n;
const AVAIL = 0x80;
const USED = 0x8000;

/** A packed ring of receive buffers in its first lap, of which the driver has made `available` available. */
export function packedReceiveRing(available: number) {
  const memory = new GuestMemory(new FakeDma(), { log: new CollectedLog() });
  const fd = memfd("guest", 8192);
  memory.replaceAll([{ description: { gpa: 0n, size: 8192n, uva: 0n, mmapOffset: 0n }, fd }]);
  closeFd(fd);
  const put = (at: number, id: number, flags: number) => {
    memory.writeU16(GPA + BigInt(16 * at + 12), id);
    memory.writeU16(GPA + BigInt(16 * at + 14), flags);
  };
  for (let i = 0; i < available; i++) put(i, i, AVAIL | 2);
  const vring = {
    index: 0,
    size: SIZE,
    descGpa: GPA,
    driverGpa: 0n,
    deviceGpa: 64n,
    base: 0x8000_8000,
    kickFd: -1,
    callFd: -1,
    enabled: true,
  };
  const traits = { packed: true, eventIdx: false, indirect: false, inOrder: false };
  return {
    use: (at: number, id: number) => put(at, id, AVAIL | USED | 2),
    memory,
    vring,
    traits,
    close: () => memory.clear(),
  };
}
