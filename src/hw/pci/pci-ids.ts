import { HOST, type Host, readBytes } from "./host.ts";
import { type PciIds, VIRTIO_VENDOR, virtioType, virtioTypeDescription } from "./virtio-id.ts";

const hex4 = (id: number) => id.toString(16).padStart(4, "0");

/** Looks up names; the list is read once, when the first name is asked for. */
export type NameLookup = (ids: PciIds) => { readonly vendor: string; readonly device: string };

/**
 * Vendor and device names from the machine's pci.ids; where that is missing or does not know them, built-in names
 * for virtio and numbers for everything else.
 */
export function pciNames(host: Host = HOST): NameLookup {
  let list: Buffer | undefined;
  return (ids) => {
    list ??= readList(host);
    const type = virtioType(ids);
    const names = lookUp(list, ids.vendor, ids.device);
    return {
      vendor: names.vendor ?? (ids.vendor === VIRTIO_VENDOR ? "Red Hat, Inc." : `Vendor ${hex4(ids.vendor)}`),
      device:
        names.device ??
        (type === undefined ? `Device ${hex4(ids.device)}` : `Virtio ${virtioTypeDescription(type)}`),
    };
  };
}

function readList(host: Host): Buffer {
  for (const path of host.pciIds) {
    const bytes = readBytes(path);
    // A line end in front makes the first line like all others.
    if (bytes) return Buffer.concat([Buffer.from("\n"), bytes]);
  }
  return Buffer.alloc(0);
}

/** A vendor's line begins with its id; its devices' lines follow with a tab, until the next vendor. */
function lookUp(list: Buffer, vendor: number, device: number): { vendor?: string; device?: string } {
  const start = list.indexOf(`\n${hex4(vendor)}  `);
  if (start < 0) return {};
  const [first = "", ...devices] = sectionFrom(list, start + 1);
  const found = devices.find((line) => line.startsWith(`\t${hex4(device)}  `));
  return { vendor: first.slice(6).trim(), ...(found ? { device: found.slice(7).trim() } : {}) };
}

function sectionFrom(list: Buffer, start: number): string[] {
  const lines: string[] = [];
  for (let at = start; at < list.length; ) {
    const newline = list.indexOf("\n", at);
    const end = newline < 0 ? list.length : newline;
    const line = list.toString("utf8", at, end);
    if (lines.length > 0 && !line.startsWith("\t") && !line.startsWith("#")) break;
    lines.push(line);
    at = end + 1;
  }
  return lines;
}
