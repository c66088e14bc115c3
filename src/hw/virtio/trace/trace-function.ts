import { messageOf, OperatorError } from "../../operator-error.ts";
import type { PciFunction } from "../../pci-function.ts";
import type { Trace } from "../../trace.ts";
import { identify } from "../identity.ts";
import { findStructures } from "../structures.ts";
import { LegacyRegisters } from "./legacy-registers.ts";
import { ModernRegisters } from "./modern-registers.ts";
import type { RegisterMap } from "./register-map.ts";
import { TracedFunction } from "./traced-function.ts";

/** The same function, with its register writes told under the names that `openVirtio` finds for them. */
export function traceFunction(fn: PciFunction, trace: Trace): PciFunction {
  return new TracedFunction(fn, trace, registersOf(fn, trace));
}

/** A function that is no virtio device is for `openVirtio` to refuse. */
function registersOf(fn: PciFunction, trace: Trace): RegisterMap | undefined {
  try {
    const { deviceType, config } = identify(fn);
    const found = findStructures(fn, config);
    if ("structures" in found) return new ModernRegisters(found.structures, deviceType);
    return new LegacyRegisters(deviceType);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    trace(`function without registers that are known: ${messageOf(error)}`, {
      event: "function_call",
      call: "identify",
      error: messageOf(error),
    });
    return undefined;
  }
}
