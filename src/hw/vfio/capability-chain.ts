import { vfio_info_cap_header } from "./structs.ts";

/**
 * Finds a capability behind an INFO structure. The chain is bounded by the buffer: a loop or an offset outside of it
 * ends the search.
 * @param first offset of the first capability from the start of `info`, 0 for none
 * @returns the bytes from the capability's header to the end of `info`
 */
export function findCapability(info: Uint8Array, first: number, id: number): Uint8Array | undefined {
  const seen = new Set<number>();
  for (let at = first; at > 0 && at + vfio_info_cap_header.size <= info.length && !seen.has(at); ) {
    seen.add(at);
    const header = vfio_info_cap_header.read(info, at);
    if (header.id === id) return info.subarray(at);
    at = header.next;
  }
  return undefined;
}
