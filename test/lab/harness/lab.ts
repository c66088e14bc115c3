// What a scenario is given: the VM's devices by name, and checks.
import { isDeepStrictEqual } from "node:util";
import { Device } from "./device.ts";
import type { Report } from "./report.ts";
import type { VmShape } from "./shape.ts";

export class Lab {
  readonly devices: Device[];
  readonly #report: Report;

  constructor(shape: VmShape, report: Report) {
    this.devices = shape.devices.map((device, index) => new Device(device, index));
    this.#report = report;
  }

  device(name: string): Device {
    const found = this.devices.find((device) => device.shape.name === name);
    if (found === undefined) throw new Error(`the VM's shape has no device "${name}"`);
    return found;
  }

  /** `detail` is what was seen; it is printed either way. */
  check(name: string, condition: boolean, detail: unknown = ""): void {
    this.#report.check(name, condition, detail);
  }

  equal<T>(name: string, got: T, want: T): void {
    const same = isDeepStrictEqual(got, want);
    this.#report.check(name, same, same ? show(got) : `got ${show(got)}, want ${show(want)}`);
  }

  atLeast(name: string, got: number, least: number): void {
    this.#report.check(name, got >= least, `${got}, at least ${least} wanted`);
  }

  /** A line for the reader that is not a check. */
  note(text: string): void {
    this.#report.note(text);
  }
}

function show(value: unknown): string {
  if (typeof value === "string") return value;
  return (
    JSON.stringify(value, (_, item) => (typeof item === "bigint" ? String(item) : item)) ?? String(value)
  );
}
