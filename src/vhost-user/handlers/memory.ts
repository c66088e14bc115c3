import { OperatorError } from "../../hw/operator-error.ts";
import type { RegionDescription } from "../../memory/region.ts";
import { type vhost_user_mem_reg_msg, vhost_user_memory, vhost_user_memory_region } from "../messages.ts";
import type { PassedFds } from "../passed-fds.ts";
import { FDS_MAX, MEM_SLOTS } from "../protocol.ts";
import type { Session } from "../session.ts";
import { checkRunningRings } from "../vring-config.ts";

type WireRegion = ReturnType<typeof vhost_user_memory_region.read>;
type RegionMessage = ReturnType<typeof vhost_user_mem_reg_msg.read>;

const describe = (region: WireRegion): RegionDescription => ({
  gpa: region.guest_phys_addr,
  size: region.memory_size,
  uva: region.userspace_addr,
  mmapOffset: region.mmap_offset,
});

/** Decodes SET_MEM_TABLE. */
export function readTable(payload: Uint8Array): RegionDescription[] {
  const { nregions } = vhost_user_memory.read(payload);
  const refuse = (why: string) => {
    throw new OperatorError(`memory table of ${nregions} regions`, { why, kind: "protocol" });
  };
  if (nregions > FDS_MAX) refuse(`one message carries at most ${FDS_MAX}`);
  if (payload.byteLength < vhost_user_memory.size + nregions * vhost_user_memory_region.size) {
    refuse(`a payload of ${payload.byteLength} bytes is too short`);
  }
  return Array.from({ length: nregions }, (_, i) =>
    describe(
      vhost_user_memory_region.read(payload, vhost_user_memory.size + i * vhost_user_memory_region.size),
    ),
  );
}

/** Valid while rings run: only what differs is mapped and unmapped. */
export function setMemTable(session: Session, table: RegionDescription[], fds: PassedFds): void {
  if (table.length === 0) throw new OperatorError("memory table without regions", { kind: "protocol" });
  checkRings(session, table);
  session.device.memory.replaceAll(table.map((description, i) => ({ description, fd: fds.at(i) })));
  session.update();
}

export const getMaxMemSlots = (): bigint => BigInt(MEM_SLOTS);

export function addMemReg(session: Session, { region }: RegionMessage, fds: PassedFds): void {
  const { memory } = session.device;
  if (memory.count >= MEM_SLOTS) {
    throw new OperatorError(`${memory.count + 1} memory regions`, {
      why: `there are ${MEM_SLOTS} slots`,
      kind: "protocol",
    });
  }
  memory.add({ description: describe(region), fd: fds.at(0) });
  session.update();
}

/** The region is known by GPA, UVA and size; an fd that comes along is closed unused, as the protocol says. */
export function remMemReg(session: Session, { region }: RegionMessage): void {
  const { memory } = session.device;
  const gone = memory.find(describe(region));
  if (gone) {
    checkRings(
      session,
      memory.regions.filter((known) => known !== gone),
    );
  }
  memory.remove(describe(region));
}

function checkRings(session: Session, next: readonly RegionDescription[]): void {
  checkRunningRings(session.rings, session.device.memory.regions, next, session.virtioFeatures);
}
