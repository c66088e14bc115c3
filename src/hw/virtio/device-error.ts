import { OperatorError } from "../operator-error.ts";
import type { PciFunction } from "../pci-function.ts";

/** A device that does not follow the specification, named together with what it was asked. */
export function deviceError(fn: PciFunction, what: string, why: string, remedy?: string): OperatorError {
  return new OperatorError(`${fn.name}: ${what}`, { why, remedy });
}

/** A device that is no longer there: all its registers read as ones (surprise removal). */
export function deviceGone(fn: PciFunction): OperatorError {
  return new OperatorError(`${fn.name} no longer answers`, {
    why: "its registers read as all ones, as if it had been unplugged",
    remedy: hasAddress(fn) ? "check that the device is still there: vdpactl probe" : undefined,
    kind: "not-ready",
  });
}

/** A wait that took longer than the limit. */
export function deviceStuck(fn: PciFunction, what: string, limitMs: number): OperatorError {
  return deviceError(
    fn,
    `${what} did not complete`,
    `the device was given ${limitMs / 1000} s`,
    hasAddress(fn) ? `reset it: vdpactl bind --unbind --pci ${fn.name}, then bind it again` : undefined,
  );
}

/** Simulated devices (`sim`, `sim0` …) have none, so that no command finds them. */
const hasAddress = ({ name }: PciFunction) => name.includes(":");
