import { expect, test } from "bun:test";
import fc from "fast-check";
import { FrameQueue, MAX_FRAME } from "../../../../src/hw/sim/frame-queue.ts";

test("keeps frames apart and in order, whatever their lengths", () => {
  const step = fc.oneof(
    fc.integer({ min: 12, max: 2000 }),
    fc.constant(MAX_FRAME),
    fc.constant("shift" as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const queue = new FrameQueue(32);
      const model: { length: number; mark: number }[] = [];
      let mark = 0;
      for (const step of steps) {
        if (step === "shift") {
          if (model.length === 0) continue;
          const { length, mark } = model.shift()!;
          expect(queue.length).toBe(length);
          expect(queue.offset % 4).toBe(0);
          const frame = queue.memory.u8.subarray(queue.offset, queue.offset + length);
          expect(frame[0]).toBe(mark);
          expect(frame[length - 1]).toBe(mark);
          queue.shift();
        } else {
          const offset = queue.room(step);
          // An empty queue, or one with a single frame, always has room for another.
          if (offset < 0) {
            expect(model.length).toBeGreaterThan(1);
            continue;
          }
          mark = (mark % 255) + 1;
          queue.memory.u8.fill(mark, offset, offset + step);
          queue.push(offset, step);
          model.push({ length: step, mark });
        }
        expect(queue.count).toBe(model.length);
      }
    }),
  );
});
