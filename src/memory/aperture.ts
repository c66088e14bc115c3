import { OperatorError } from "../hw/operator-error.ts";
import type { IovaRange } from "../hw/pci-function.ts";
import { hex, nameOf, type RegionDescription } from "./region.ts";

/** Why the device can not address a region: it lies beyond the IOMMU's width or over a reserved range. */
export function apertureProblem(
  region: RegionDescription,
  usable: readonly IovaRange[],
): OperatorError | undefined {
  const first = region.gpa;
  const last = region.gpa + region.size - 1n;
  if (usable.some((range) => range.first <= first && last <= range.last)) return undefined;
  const end = usable.at(-1)?.last ?? -1n;
  if (last > end) return beyondWidth(region, end);
  const blocked = firstGap(first, last, usable);
  return new OperatorError(`memory region ${nameOf(region)}`, {
    why: `it lies over ${hex(blocked.first)}–${hex(blocked.last)}, which the IOMMU reserves`,
    remedy: "give the guest its memory elsewhere (less memory below 4 GiB moves it)",
    kind: "not-ready",
  });
}

function beyondWidth(region: RegionDescription, end: bigint): OperatorError {
  const bits = (end + 1n).toString(2).length - 1;
  const needed = (region.gpa + region.size - 1n).toString(2).length;
  // DPDK's virtio-user gives its own process addresses as guest addresses.
  const processAddresses = region.gpa === region.uva;
  return new OperatorError(`memory region ${nameOf(region)}`, {
    why: processAddresses
      ? `the front-end uses its process addresses as guest addresses, as DPDK virtio-user does, which needs ` +
        `${needed} bits; the IOMMU has ${bits}`
      : `it needs ${needed} address bits and the IOMMU has ${bits}`,
    remedy: processAddresses
      ? `start the DPDK application with --base-virtaddr below ${hex(end + 1n)}, or use an IOMMU of 48 bits ` +
        "(QEMU: -device intel-iommu,aw-bits=48)"
      : "use an IOMMU with more address bits (QEMU: -device intel-iommu,aw-bits=48) or a smaller guest",
    kind: "not-ready",
  });
}

/** The lowest part of [first, last] that no usable range holds, widened to the whole gap. */
function firstGap(first: bigint, last: bigint, usable: readonly IovaRange[]): IovaRange {
  let from = 0n;
  for (const range of usable) {
    if (range.first > from && first < range.first && last >= from)
      return { first: from, last: range.first - 1n };
    from = range.last + 1n;
  }
  return { first: from, last };
}
