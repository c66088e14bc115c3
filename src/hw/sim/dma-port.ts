import { E, SysError } from "../ffi/errno.ts";
import { copyFromProcess, copyToProcess } from "../ffi/process-memory.ts";
import { DeviceFault } from "./device-fault.ts";
import { acquireFence } from "./fences.ts";
import type { IovaMap, Segment } from "./iova-map.ts";
import { LocalMemory } from "./local-memory.ts";

/** From this length on a copy by TypedArray.set beats a loop in spite of the view it allocates. */
const LONG_COPY = 512;

/**
 * The device's reads and writes of driver memory. Stable memory is accessed in place; memory that a peer may
 * truncate only by way of the kernel, eight aligned bytes at a time where a value must not be torn (kernels copy
 * those with one move). Addresses are IOVAs. Everything throws DeviceFault where the address is not mapped.
 */
export class DmaPort {
  /** The words of the descriptor that `readDescriptor` has read: address low and high, length, rest. */
  d0 = 0;
  d1 = 0;
  d2 = 0;
  d3 = 0;
  readonly #map: IovaMap;
  readonly #scratch = new LocalMemory(16);
  #last: Segment | undefined;

  constructor(map: IovaMap) {
    this.#map = map;
  }

  /** Reads an aligned u16 and keeps later accesses after it. */
  acquireU16(iova: number): number {
    const segment = this.#segment(iova);
    if (!segment.stable) {
      this.#fetch(segment, iova - (iova % 8), 8);
      return this.#scratch.u16[(iova % 8) >> 1]!;
    }
    const value = segment.u16[(iova - segment.first) >>> 1]!;
    acquireFence();
    return value;
  }

  /** Reads an aligned u16. */
  readU16(iova: number): number {
    const segment = this.#segment(iova);
    if (segment.stable) return segment.u16[(iova - segment.first) >>> 1]!;
    this.#fetch(segment, iova, 2);
    return this.#scratch.u16[0]!;
  }

  /** Writes an aligned u16. */
  writeU16(iova: number, value: number): void {
    const segment = this.#segment(iova);
    if (segment.stable) {
      segment.u16[(iova - segment.first) >>> 1] = value;
    } else {
      this.#scratch.u16[0] = value;
      this.#store(segment, iova, 2);
    }
  }

  /** Publishes an aligned u16: every earlier write is visible before it. */
  releaseU16(iova: number, value: number): void {
    const segment = this.#segment(iova);
    if (segment.stable) Atomics.store(segment.u16, (iova - segment.first) >>> 1, value);
    else this.writeU16(iova, value);
  }

  /** Writes two u32 in a row, 4-aligned; one store of the kernel's where 8-aligned in unstable memory. */
  writePair(iova: number, low: number, high: number): void {
    const segment = this.#segment(iova);
    if (segment.stable && iova + 8 <= segment.end) {
      const at = (iova - segment.first) >>> 2;
      segment.u32[at] = low;
      segment.u32[at + 1] = high;
    } else {
      this.#scratch.u32[0] = low;
      this.#scratch.u32[1] = high;
      this.write(iova, this.#scratch, 0, 8);
    }
  }

  /** Whether writes to this address go by way of the kernel. */
  isUnstable(iova: number): boolean {
    return !this.#segment(iova).stable;
  }

  /** Reads the 16 bytes of a descriptor into `d0`–`d3`, each word once. */
  readDescriptor(iova: number): void {
    const segment = this.#segment(iova);
    // Only indirect tables may lie anywhere (virtio 1.3 §2.7.5.3); an aligned descriptor crosses no page.
    const aligned = (iova & 15) === 0;
    if (segment.stable && aligned) {
      const at = (iova - segment.first) >>> 2;
      const words = segment.u32;
      this.d0 = words[at]!;
      this.d1 = words[at + 1]!;
      this.d2 = words[at + 2]!;
      this.d3 = words[at + 3]!;
    } else {
      this.read(iova, this.#scratch, 0, 16);
      const words = this.#scratch.u32;
      this.d0 = words[0]!;
      this.d1 = words[1]!;
      this.d2 = words[2]!;
      this.d3 = words[3]!;
    }
  }

  /** Copies `length` bytes of driver memory to `offset` of `into`. */
  read(iova: number, into: LocalMemory, offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = iova + done;
      const segment = this.#segment(at);
      const part = Math.min(length - done, segment.end - at);
      if (segment.stable) copy(segment, at - segment.first, into, offset + done, part);
      else check(copyFromProcess(segment.hva + (at - segment.first), into.hva + offset + done, part), at);
      done += part;
    }
  }

  /** Copies `length` bytes from `offset` of `from` to driver memory. */
  write(iova: number, from: LocalMemory, offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = iova + done;
      const segment = this.#segment(at);
      const part = Math.min(length - done, segment.end - at);
      if (segment.stable) copy(from, offset + done, segment, at - segment.first, part);
      else check(copyToProcess(segment.hva + (at - segment.first), from.hva + offset + done, part), at);
      done += part;
    }
  }

  #segment(iova: number): Segment {
    const last = this.#last;
    if (last !== undefined && iova >= last.first && iova < last.end) return last;
    const segment = this.#map.find(iova);
    this.#last = segment;
    return segment;
  }

  #fetch(segment: Segment, iova: number, length: number): void {
    check(copyFromProcess(segment.hva + (iova - segment.first), this.#scratch.hva, length), iova);
  }

  #store(segment: Segment, iova: number, length: number): void {
    check(copyToProcess(segment.hva + (iova - segment.first), this.#scratch.hva, length), iova);
  }
}

function check(errno: number, iova: number): void {
  if (errno === 0) return;
  const why = errno === E.EFAULT ? "the memory behind it is gone" : new SysError("process_vm", errno).message;
  throw new DeviceFault(`DMA to IOVA 0x${iova.toString(16)}: ${why}`);
}

interface Views {
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
}

function copy(source: Views, from: number, target: Views, to: number, length: number): void {
  if (length >= LONG_COPY) {
    target.u8.set(source.u8.subarray(from, from + length), to);
    return;
  }
  let done = 0;
  if (((from | to) & 3) === 0) {
    const s = source.u32;
    const t = target.u32;
    const si = from >>> 2;
    const ti = to >>> 2;
    const words = length >>> 2;
    for (let i = 0; i < words; i++) t[ti + i] = s[si + i]!;
    done = words << 2;
  }
  const s = source.u8;
  const t = target.u8;
  for (; done < length; done++) t[to + done] = s[from + done]!;
}
