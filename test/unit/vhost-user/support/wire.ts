/** Encoders of the tests' own, so that a wrong struct in src does not hide behind itself. Little endian. */

export const u32s = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

export const u64s = (...values: bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer);

export const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

export const frame = (
  request: number,
  flags: number,
  payload: Uint8Array,
  size = payload.length,
): Uint8Array => join(u32s(request, flags, size), payload);

export interface WireRegion {
  readonly gpa: bigint;
  readonly size: bigint;
  readonly uva: bigint;
  readonly mmapOffset: bigint;
}

export const memTable = (regions: readonly WireRegion[], count = regions.length): Uint8Array =>
  join(u32s(count, 0), ...regions.map((r) => u64s(r.gpa, r.size, r.uva, r.mmapOffset)));

export const memReg = (r: WireRegion): Uint8Array => u64s(0n, r.gpa, r.size, r.uva, r.mmapOffset);

/** SET_VRING_ADDR: descriptor, used, avail, log. */
export const vringAddr = (
  index: number,
  {
    desc,
    used,
    avail,
    log = 0n,
    flags = 0,
  }: { desc: bigint; used: bigint; avail: bigint; log?: bigint; flags?: number },
): Uint8Array => join(u32s(index, flags), u64s(desc, used, avail, log));

export const number = (payload: Uint8Array): bigint =>
  new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true);
