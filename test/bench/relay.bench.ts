/**
 * Elements per second of the relay on one core: ring 256, batch 32, one writable descriptor per element, logging on.
 * `bun test/bench/relay.bench.ts [--json]`. Compiles a plain C loop of the same work with cc and runs it alternately.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { relayBytes } from "../../src/relay/device-memory.ts";
import { PackedRelay } from "../../src/relay/packed-relay.ts";
import type { RelayOptions } from "../../src/relay/relay.ts";
import { SplitRelay } from "../../src/relay/split-relay.ts";
import { FIRST_GPA, PAGE, Stage } from "../unit/relay/stage.ts";

const SIZE = 256;
const BATCH = 32;
const ROUNDS = 12;
const LAPS = 8000;

interface Timing {
  /** Nanoseconds per element. */
  forward: number;
  complete: number;
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;

function stageFor(packed: boolean): { stage: Stage; options: RelayOptions } {
  const stage = new Stage(64 + SIZE);
  const ring = {
    size: SIZE,
    descGpa: BigInt(FIRST_GPA),
    driverGpa: BigInt(FIRST_GPA + 4 * PAGE),
    deviceGpa: BigInt(FIRST_GPA + 8 * PAGE),
    eventIdx: true,
    indirect: true,
    inOrder: false,
  };
  const buffer = stage.buffer(relayBytes(packed, SIZE));
  return { stage, options: { ring, memory: stage.memory, buffer, offset: 0 } };
}

const views = (stage: Stage, gpa: number) => {
  const { memory, offset } = stage.memory.locate(BigInt(gpa), PAGE);
  const { buffer } = memory.window(offset).u8;
  return { u16: new Uint16Array(buffer, offset), u32: new Uint32Array(buffer, offset) };
};

const bufferGpa = (i: number) => FIRST_GPA + (32 + (i >> 1)) * PAGE + (i % 2) * 2048;

function splitRun(): () => Timing {
  const { stage, options } = stageFor(false);
  const { ring, buffer } = options;
  const relay = new SplitRelay(options);
  relay.start({ availPosition: 0, availWrap: 0, usedPosition: 0, usedWrap: 0 });
  relay.setLogging({ log: stage.log, data: true, usedRingGpa: ring.deviceGpa });
  for (let i = 0; i < SIZE; i++) {
    stage.put(FIRST_GPA + 16 * i, 4, bufferGpa(i));
    stage.put(FIRST_GPA + 16 * i + 8, 4, 1536);
    stage.put(FIRST_GPA + 16 * i + 12, 4, 2);
    stage.put(Number(ring.driverGpa) + 4 + 2 * i, 2, i);
  }
  const avail = views(stage, Number(ring.driverGpa)).u16;
  const usedAt = Number(relay.deviceQueue.device - buffer.iova);
  const used = new Uint32Array(buffer.memory.window(0).u8.buffer, usedAt);
  const usedIndex = new Uint16Array(used.buffer, usedAt);
  for (let i = 0; i < SIZE; i++) {
    used[1 + 2 * i] = i;
    used[2 + 2 * i] = 100;
  }
  let index = 0;
  const lap = () => {
    for (let done = BATCH; done <= SIZE; done += BATCH) {
      usedIndex[1] = index - SIZE + done;
      relay.complete();
    }
  };
  return () => {
    // start() clears our ring; the elements above are written after it and stay.
    let forward = 0;
    let complete = 0;
    for (let l = 0; l < LAPS; l++) {
      const t0 = performance.now();
      for (let done = BATCH; done <= SIZE; done += BATCH) {
        avail[1] = index + done;
        relay.forward();
      }
      index += SIZE;
      const t1 = performance.now();
      lap();
      complete += performance.now() - t1;
      forward += t1 - t0;
    }
    if (relay.fault) throw relay.fault;
    return { forward: (forward * 1e6) / (LAPS * SIZE), complete: (complete * 1e6) / (LAPS * SIZE) };
  };
}

function packedRun(): () => Timing {
  const { stage, options } = stageFor(true);
  const { buffer } = options;
  const relay = new PackedRelay(options);
  relay.start({ availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 });
  relay.setLogging({ log: stage.log, data: true, usedRingGpa: undefined });
  const guest = views(stage, FIRST_GPA);
  const ours = new Uint16Array(
    buffer.memory.window(0).u8.buffer,
    Number(relay.deviceQueue.desc - buffer.iova),
  );
  let wrap = 1;
  const offer = () => {
    for (let i = 0; i < SIZE; i++) {
      guest.u32[4 * i] = bufferGpa(i);
      guest.u32[4 * i + 1] = 0;
      guest.u32[4 * i + 2] = 1536;
      guest.u16[8 * i + 6] = i;
    }
  };
  const makeAvail = (from: number) => {
    const flags = 2 | (wrap ? 0x80 : 0x8000);
    for (let i = from; i < from + BATCH; i++) guest.u16[8 * i + 7] = flags;
  };
  const makeUsed = (from: number) => {
    const flags = 2 | (wrap ? 0x8080 : 0);
    for (let i = from; i < from + BATCH; i++) ours[8 * i + 7] = flags;
  };
  return () => {
    let forward = 0;
    let complete = 0;
    for (let l = 0; l < LAPS; l++) {
      offer();
      for (let from = 0; from < SIZE; from += BATCH) {
        makeAvail(from);
        const t = performance.now();
        relay.forward();
        forward += performance.now() - t;
      }
      for (let from = 0; from < SIZE; from += BATCH) {
        makeUsed(from);
        const t = performance.now();
        relay.complete();
        complete += performance.now() - t;
      }
      wrap ^= 1;
    }
    if (relay.fault) throw relay.fault;
    return { forward: (forward * 1e6) / (LAPS * SIZE), complete: (complete * 1e6) / (LAPS * SIZE) };
  };
}

function idealRun(directory: string): () => number {
  const library = join(directory, "ideal.so");
  const source = join(import.meta.dir, "relay-ideal.c");
  const cc = Bun.spawnSync(["cc", "-O2", "-shared", "-fPIC", "-o", library, source]);
  if (cc.exitCode !== 0) throw new Error(cc.stderr.toString());
  const p = FFIType.ptr;
  const { symbols } = dlopen(library, {
    relay_used: { args: [p, p, p, p, p, p, FFIType.u32, FFIType.u32, FFIType.u64], returns: FFIType.void },
  });
  const table = new Uint32Array(new ArrayBuffer(16 * SIZE));
  const device = new Uint32Array(new ArrayBuffer(8 * SIZE));
  for (let i = 0; i < SIZE; i++) {
    table.set([bufferGpa(i), 0, 1536, 2], 4 * i);
    device.set([i, 100], 2 * i);
  }
  const guest = new Uint32Array(new ArrayBuffer(8 * SIZE));
  const indices = [new Uint16Array(new ArrayBuffer(64)), new Uint16Array(new ArrayBuffer(64))] as const;
  const log = new Uint8Array(new ArrayBuffer(4096));
  const rounds = (LAPS * SIZE) / BATCH;
  return () => {
    const t = performance.now();
    // SAFETY: all arrays are referenced until the call returns, and the loop stays inside of them.
    symbols.relay_used(
      ptr(indices[0]),
      ptr(device),
      ptr(indices[1]),
      ptr(guest),
      ptr(table),
      ptr(log),
      SIZE,
      BATCH,
      rounds,
    );
    return ((performance.now() - t) * 1e6) / (LAPS * SIZE);
  };
}

const directory = mkdtempSync(join(tmpdir(), "relay-bench-"));
try {
  const [split, packed, ideal] = [splitRun(), packedRun(), idealRun(directory)];
  for (let warm = 0; warm < 2; warm++) [split, packed, ideal].map((run) => run());
  const rounds = Array.from({ length: ROUNDS }, () => ({ split: split(), packed: packed(), ideal: ideal() }));
  const of = (pick: (round: (typeof rounds)[number]) => number) => median(rounds.map(pick));
  const result = {
    split_complete_ns: of((r) => r.split.complete),
    split_forward_ns: of((r) => r.split.forward),
    packed_complete_ns: of((r) => r.packed.complete),
    packed_forward_ns: of((r) => r.packed.forward),
    c_ns: of((r) => r.ideal),
    ratio_to_c: of((r) => r.ideal) / of((r) => r.split.complete),
  };
  if (process.argv.includes("--json")) {
    console.log(JSON.stringify(result));
  } else {
    for (const [name, value] of Object.entries(result)) {
      const rate = name.endsWith("_ns") ? `  ${(1000 / value).toFixed(0)} M elements/s` : "";
      console.log(`${name.padEnd(20)} ${value.toFixed(2)}${rate}`);
    }
  }
} finally {
  rmSync(directory, { recursive: true });
}
