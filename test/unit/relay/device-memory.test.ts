import { expect, test } from "bun:test";
import { DmaBuffer } from "../../../src/hw/dma-buffer.ts";
import { relayBytes, splitDeviceMemory } from "../../../src/relay/device-memory.ts";
import { FakeDma } from "../memory/fake-dma.ts";

const PAGE = 4096;
const IOVA = 0x10000n;

test("no used element of a split ring of ours crosses a cache line, and the parts fit", () => {
  for (let size = 1; size <= 32768; size *= 2) {
    const bytes = Math.ceil(relayBytes(false, size) / PAGE) * PAGE;
    const buffer = DmaBuffer.create(new FakeDma(), IOVA, bytes, "test");
    const { avail, used } = splitDeviceMemory(buffer, 0, size);
    expect((used.iova + 4n) % 64n).toBe(0n);
    expect(used.u16.byteOffset).toBe(Number(used.iova - IOVA));
    // Flags, index, elements, event index.
    expect(avail.u16.length).toBeGreaterThanOrEqual(3 + size);
    expect(used.u16.length).toBeGreaterThanOrEqual(3 + 4 * size);
    expect(avail.u16.byteOffset + avail.u16.byteLength).toBeLessThanOrEqual(used.u16.byteOffset);
    expect(used.u16.byteOffset + used.u16.byteLength).toBeLessThanOrEqual(relayBytes(false, size));
    buffer.close();
  }
});
