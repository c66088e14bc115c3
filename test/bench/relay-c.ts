import { dlopen, FFIType, ptr } from "bun:ffi";
import { join } from "node:path";
import type { Stage } from "../unit/relay/stage.ts";
import { BATCH, LAPS, perElement, ring, SIZE, stageFor, type Timing } from "./relay-setup.ts";

/** Compiles a C source of this folder at -O2; returns the output's path. */
export function compileC(source: string, output: string, flags: readonly string[] = []): string {
  const cc = Bun.spawnSync(["cc", "-O2", "-o", output, join(import.meta.dir, source), ...flags]);
  if (cc.exitCode !== 0) throw new Error(cc.stderr.toString());
  return output;
}

const symbols = {
  run_split: {
    args: [FFIType.ptr, FFIType.u32, FFIType.u32, FFIType.ptr, FFIType.ptr],
    returns: FFIType.i32,
  },
  run_packed: {
    args: [FFIType.ptr, FFIType.u32, FFIType.u32, FFIType.ptr, FFIType.ptr],
    returns: FFIType.i32,
  },
} as const;

/** The plain C loops of relay-ideal.c on rings of their own, each as a run. */
export function idealRuns(directory: string) {
  const load = (name: string, ...flags: string[]) =>
    dlopen(compileC("relay-ideal.c", join(directory, `${name}.so`), ["-shared", "-fPIC", ...flags]), symbols)
      .symbols;
  const [ideal, trusting, checked] = [
    load("ideal"),
    load("trusting", "-DTRUSTING"),
    load("checked", "-DCHECKED"),
  ];
  return {
    split: runOf(false, ideal.run_split),
    splitTrusting: runOf(false, trusting.run_split),
    splitChecked: runOf(false, checked.run_split),
    packed: runOf(true, ideal.run_packed),
    packedChecked: runOf(true, checked.run_packed),
  };
}

type Run = (setup: Pointer, batch: number, laps: number, forward: Pointer, complete: Pointer) => number;
type Pointer = NonNullable<ReturnType<typeof ptr>>;

/** `struct setup` of relay-ideal.c. SAFETY: valid while the stage is referenced. */
export function setupOf(stage: Stage): bigint[] {
  const { gpa, size } = stage.memory.regions[0]!;
  const { descGpa, driverGpa, deviceGpa } = ring;
  return [
    ...[BigInt(stage.memory.gpaToHva(gpa, Number(size))), gpa, size],
    ...[BigInt(stage.log.memory.hva), BigInt(stage.log.size)],
    ...[descGpa, driverGpa, deviceGpa, BigInt(SIZE)],
  ];
}

function runOf(packed: boolean, run: Run): () => Timing {
  const { stage } = stageFor(packed);
  const setup = BigUint64Array.from(setupOf(stage));
  const forward = new Float64Array(new ArrayBuffer(8 * LAPS));
  const complete = new Float64Array(new ArrayBuffer(8 * LAPS));
  return () => {
    // SAFETY: C stays inside of the stage's first region, which holds the ring, and its log; the arrays and the
    // stage are referenced by this function.
    if (run(ptr(setup), BATCH, LAPS, ptr(forward), ptr(complete)) !== 0)
      throw new Error("the C relay refused its own ring");
    if (stage.loggedPages().length < SIZE / 2) throw new Error("the C relay did not log");
    return { forward: perElement(forward), complete: perElement(complete) };
  };
}
