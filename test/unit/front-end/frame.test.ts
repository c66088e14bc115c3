import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { checkFrame, MAX_FRAME, MIN_FRAME, writeFrame } from "../../support/front-end/frame.ts";
import { createRegions } from "../../support/front-end/guest-memory.ts";
import { NET_HEADER, PacketBuffer } from "../../support/front-end/packet-buffer.ts";

const make = (pair: number, sequence: number, length: number) =>
  Buffer.from(writeFrame(Buffer.alloc(2048), pair, sequence, length));

describe("frames", () => {
  test("a frame that comes back unchanged is known by its number", () => {
    expect(checkFrame(make(3, 1234, 777), 3)).toBe(1234);
  });

  test("any change of one byte, another pair and another length are noticed", () => {
    const frame = fc.record({
      sequence: fc.nat(1e6),
      length: fc.integer({ min: MIN_FRAME, max: MAX_FRAME }),
      at: fc.nat(MIN_FRAME - 1),
      flip: fc.integer({ min: 1, max: 255 }),
    });
    fc.assert(
      fc.property(frame, ({ sequence, length, at, flip }) => {
        const sent = make(1, sequence, length);
        expect(checkFrame(sent, 2)).toBeString();
        if (length > MIN_FRAME) expect(checkFrame(sent.subarray(0, length - 1), 1)).toBeString();
        sent[at]! ^= flip;
        expect(checkFrame(sent, 1)).not.toBe(sequence);
      }),
    );
  });

  test("macswap exchanges the addresses", () => {
    const frame = make(1, 5, 100);
    const swapped = Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12)]);
    expect(checkFrame(swapped, 1, "macswap")).toBe(5);
    expect(checkFrame(swapped, 1)).toBeString();
    expect(checkFrame(frame, 1, "macswap")).toBeString();
  });
});

describe("packet buffers", () => {
  test("what is filled in can be read out in every layout", () => {
    const [region] = createRegions([{ gpa: 0n, uva: 0n, size: 1 << 16, file: "unit" }]);
    try {
      for (const layout of ["single", "chain", "indirect"] as const) {
        const buffer = new PacketBuffer(region!, layout, false);
        for (const length of [MIN_FRAME, 61, 500, MAX_FRAME]) {
          buffer.offer();
          expect(buffer.numBuffers).toBe(0xffff);
          buffer.fill(make(0, length, length));
          const { segments, count } = buffer.chain;
          const total = segments.slice(0, count).reduce((sum, segment) => sum + segment.length, 0);
          expect(total).toBe(NET_HEADER + length);
          expect(buffer.numBuffers).toBe(0);
          expect(checkFrame(buffer.read(total, Buffer.alloc(2048)), 0)).toBe(length);
        }
      }
    } finally {
      region!.close();
    }
  });
});
