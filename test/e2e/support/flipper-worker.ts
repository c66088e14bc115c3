import { workerData } from "node:worker_threads";
import { MappedMemory } from "../../../src/hw/ffi/mmap.ts";
import type { FlipperData } from "./flipper.ts";

const { state, flips } = workerData as FlipperData;
const words = new Int32Array(state);
const maps = new Map<number, MappedMemory>();
const fields = flips.map(({ fd, mapOffset, mapSize, at, bytes, values }) => {
  const memory = maps.get(fd) ?? MappedMemory.map(fd, mapSize, mapOffset, "guest memory");
  maps.set(fd, memory);
  const { u16, u32 } = memory.window(0);
  return { view: bytes === 2 ? u16 : u32, index: at / bytes, values };
});

// State: stop, laps.
for (let lap = 0; Atomics.load(words, 0) === 0; lap++) {
  for (const { view, index, values } of fields) Atomics.store(view, index, values[lap % values.length]!);
  Atomics.add(words, 1, 1);
}
for (const memory of maps.values()) memory.unmap();
