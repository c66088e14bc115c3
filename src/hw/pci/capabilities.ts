/** One entry of a function's capability list. */
export interface Capability {
  /** PCI capability ID, for example 0x09 vendor specific, 0x11 MSI-X. */
  readonly id: number;
  /** Where it starts in the configuration space. */
  readonly offset: number;
}

/** A virtio structure's place (virtio 1.3 §4.1.4, struct virtio_pci_cap). */
export interface VirtioCap {
  /** 1 common, 2 notify, 3 ISR, 4 device, 5 PCI window, 8 shared memory, 9 vendor data. */
  readonly cfg_type: number;
  /** BAR 0–5 that holds the structure. 0 for vendor data (type 9), which has none. */
  readonly bar: number;
  /** Tells several structures of one type apart (shared memory regions). */
  readonly id: number;
  /** First byte in the BAR. Not checked against the BAR's size, which the configuration space does not tell. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  /** Only with type 2: bytes from one queue's doorbell to the next, times queue_notify_off. */
  readonly notify_off_multiplier?: number;
  /** Only with type 9: whose data it is. */
  readonly vendor_id?: number;
  /** Where the capability starts in the configuration space. */
  readonly at: number;
}

/** MSI-X capability (PCI 3.0 §6.8.2). */
export interface MsixCapability {
  /** Vectors, 1–2048. */
  readonly tableSize: number;
  readonly tableBar: number;
  readonly tableOffset: number;
  readonly pbaBar: number;
  readonly pbaOffset: number;
  readonly enabled: boolean;
  /** Where the capability starts in the configuration space. */
  readonly at: number;
}

export const VIRTIO_PCI_CAP_COMMON_CFG = 1;
export const VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
export const VIRTIO_PCI_CAP_ISR_CFG = 3;
export const VIRTIO_PCI_CAP_DEVICE_CFG = 4;
export const VIRTIO_PCI_CAP_PCI_CFG = 5;
export const VIRTIO_PCI_CAP_SHARED_MEMORY_CFG = 8;
export const VIRTIO_PCI_CAP_VENDOR_CFG = 9;

const PCI_STATUS = 0x06;
const PCI_STATUS_CAP_LIST = 0x10;
const PCI_CAPABILITY_LIST = 0x34;
const PCI_CAP_ID_VNDR = 0x09;
const PCI_CAP_ID_MSIX = 0x11;
/** The list lies behind the 64-byte header, within the first 256 bytes. */
const FIRST = 0x40;
const END = 0x100;

const MIN_LENGTH: Readonly<Record<number, number>> = {
  [VIRTIO_PCI_CAP_COMMON_CFG]: 16,
  [VIRTIO_PCI_CAP_NOTIFY_CFG]: 20,
  [VIRTIO_PCI_CAP_ISR_CFG]: 16,
  [VIRTIO_PCI_CAP_DEVICE_CFG]: 16,
  [VIRTIO_PCI_CAP_PCI_CFG]: 16,
  [VIRTIO_PCI_CAP_SHARED_MEMORY_CFG]: 24,
  [VIRTIO_PCI_CAP_VENDOR_CFG]: 6,
};

/**
 * The capability list in its order. A loop, an offset outside of the list's area or bytes that are not there
 * (sysfs gives 64 to users other than root) end the walk.
 * @param config configuration space, 64 to 4096 bytes
 */
export function walkCapabilities(config: Uint8Array): Capability[] {
  const found: Capability[] = [];
  if (config.length < FIRST || allOnes(config)) return found;
  if (!(config[PCI_STATUS]! & PCI_STATUS_CAP_LIST)) return found;
  const seen = new Set<number>();
  // The two low bits are reserved and must be masked (PCI 3.0 §6.7).
  let offset = config[PCI_CAPABILITY_LIST]! & 0xfc;
  while (offset >= FIRST && offset + 2 <= Math.min(config.length, END) && !seen.has(offset)) {
    seen.add(offset);
    const id = config[offset]!;
    if (id === 0xff) break;
    found.push({ id, offset });
    offset = config[offset + 1]! & 0xfc;
  }
  return found;
}

/**
 * The virtio structures in the order listed, which is the device's order of preference (virtio 1.3 §4.1.4.1).
 * Reserved types, BARs above 5, capabilities shorter than their type needs and places beyond 2^53 are left out.
 */
export function virtioCapabilities(config: Uint8Array): VirtioCap[] {
  return walkCapabilities(config)
    .filter(({ id }) => id === PCI_CAP_ID_VNDR)
    .flatMap(({ offset }) => virtioCapability(config, offset) ?? []);
}

function virtioCapability(config: Uint8Array, at: number): VirtioCap | undefined {
  const length = config[at + 2] ?? 0;
  const cfg_type = config[at + 3] ?? 0;
  const needed = MIN_LENGTH[cfg_type];
  if (needed === undefined || length < needed || at + needed > Math.min(config.length, END)) return undefined;
  const view = new DataView(config.buffer, config.byteOffset, config.byteLength);
  const u32 = (offset: number) => view.getUint32(at + offset, true);
  if (cfg_type === VIRTIO_PCI_CAP_VENDOR_CFG) {
    return { cfg_type, bar: 0, id: 0, offset: 0, length: 0, vendor_id: view.getUint16(at + 4, true), at };
  }
  const bar = config[at + 4]!;
  if (bar > 5) return undefined;
  const common = { cfg_type, bar, id: config[at + 5]!, offset: u32(8), length: u32(12), at };
  if (cfg_type === VIRTIO_PCI_CAP_NOTIFY_CFG) return { ...common, notify_off_multiplier: u32(16) };
  if (cfg_type !== VIRTIO_PCI_CAP_SHARED_MEMORY_CFG) return common;
  // struct virtio_pci_cap64: the high halves follow.
  const wide = {
    ...common,
    offset: common.offset + u32(16) * 2 ** 32,
    length: common.length + u32(20) * 2 ** 32,
  };
  return wide.offset + wide.length <= Number.MAX_SAFE_INTEGER ? wide : undefined;
}

/** The first MSI-X capability; undefined where there is none or its tables lie in no BAR. */
export function msixCapability(config: Uint8Array): MsixCapability | undefined {
  const found = walkCapabilities(config).find(({ id }) => id === PCI_CAP_ID_MSIX);
  if (!found || found.offset + 12 > Math.min(config.length, END)) return undefined;
  const view = new DataView(config.buffer, config.byteOffset, config.byteLength);
  const control = view.getUint16(found.offset + 2, true);
  const table = view.getUint32(found.offset + 4, true);
  const pba = view.getUint32(found.offset + 8, true);
  // The low three bits are the BAR (BIR); 6 and 7 are reserved.
  if ((table & 7) > 5 || (pba & 7) > 5) return undefined;
  return {
    tableSize: (control & 0x7ff) + 1,
    tableBar: table & 7,
    tableOffset: (table & ~7) >>> 0,
    pbaBar: pba & 7,
    pbaOffset: (pba & ~7) >>> 0,
    enabled: (control & 0x8000) !== 0,
    at: found.offset,
  };
}

/** A function that is gone reads as all ones. */
function allOnes(config: Uint8Array): boolean {
  return config[0] === 0xff && config[1] === 0xff && config[2] === 0xff && config[3] === 0xff;
}
