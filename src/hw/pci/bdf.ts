import { OperatorError } from "../operator-error.ts";

const BDF = /^(?:([\da-f]{1,8}):)?([\da-f]{1,2}):([\da-f]{1,2})\.([\da-f])$/i;

/**
 * The canonical form of a PCI address, as sysfs spells it: `0000:00:04.0` (domain:bus:device.function, hexadecimal).
 * The domain may be left out and then is 0.
 * @throws OperatorError (usage) for anything else
 */
export function parseBdf(text: string): string {
  const [, domain = "0", bus, device, fn] = BDF.exec(text.trim()) ?? [];
  if (bus === undefined || device === undefined || fn === undefined) {
    throw invalid(text, "a PCI address looks like 0000:00:04.0 or 00:04.0");
  }
  if (Number.parseInt(device, 16) > 0x1f) throw invalid(text, `device ${device} is above 1f`);
  if (Number.parseInt(fn, 16) > 7) throw invalid(text, `function ${fn} is above 7`);
  const hex = (digits: string, width: number) =>
    Number.parseInt(digits, 16).toString(16).padStart(width, "0");
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(device, 2)}.${hex(fn, 1)}`;
}

const invalid = (text: string, why: string) =>
  new OperatorError(`"${text}" is no PCI address`, { why, remedy: "vdpactl probe", kind: "usage" });
