import { HOST, type Host, readBytes } from "./host.ts";
import { VIRTIO_VENDOR, virtioType, virtioTypeDescription } from "./virtio-id.ts";

const hex4 = (id: number) => id.toString(16).padStart(4, "0");

/**
 * Vendor and device name from the machine's pci.ids; where that is missing or does not know them, built-in names
 * for virtio and numbers for everything else.
 */
export function pciNames(
  ids: { readonly vendor: number; readonly device: number; readonly subsystem_device: number },
  host: Host = HOST,
): { vendor: string; device: string } {
  const type = virtioType(ids);
  const builtin = {
    vendor: ids.vendor === VIRTIO_VENDOR ? "Red Hat, Inc." : `Vendor ${hex4(ids.vendor)}`,
    device: type === undefined ? `Device ${hex4(ids.device)}` : `Virtio ${virtioTypeDescription(type)}`,
  };
  for (const path of host.pciIds) {
    const bytes = readBytes(path);
    if (!bytes) continue;
    const found = lookUp(Buffer.from(bytes).toString("utf8"), ids.vendor, ids.device);
    return { vendor: found.vendor ?? builtin.vendor, device: found.device ?? builtin.device };
  }
  return builtin;
}

/** A vendor's line begins with its id, its devices follow with a tab and their id, until the next vendor. */
function lookUp(text: string, vendor: number, device: number): { vendor?: string; device?: string } {
  const start = text.startsWith(`${hex4(vendor)}  `) ? 0 : text.indexOf(`\n${hex4(vendor)}  `) + 1;
  if (start === 0 && !text.startsWith(`${hex4(vendor)}  `)) return {};
  const [first, ...lines] = linesOfVendor(text, start);
  const found = lines.find((line) => line.startsWith(`\t${hex4(device)}  `));
  return { vendor: first!.slice(6).trim(), ...(found ? { device: found.slice(7).trim() } : {}) };
}

function linesOfVendor(text: string, start: number): string[] {
  const next = /\n(?=[^\t\n#])/.exec(text.slice(start));
  return text.slice(start, next ? start + next.index : undefined).split("\n");
}
