import { array, struct, u8, u16, u32 } from "../ffi/struct.ts";
import type { RegisterWidth } from "../pci-function.ts";
import * as layout from "./bar-layout.ts";
import { CONFIG_SPACE_SIZE, MSIX_BAR, VIRTIO_BAR } from "./bar-layout.ts";
import { NET_CONFIG_SIZE } from "./net-config.ts";
import type { SimConfig } from "./sim-options.ts";

const COMMAND = 4;
const BAR0 = 0x10;
const MSIX_CAP = 0x40;
const WINDOW_CAP = 0x98;
const COMMAND_MEMORY = 2;
const COMMAND_BUS_MASTER = 4;

const header = struct("pci_config_header", {
  vendor_id: u16,
  device_id: u16,
  command: u16,
  status: u16,
  revision_id: u8,
  class_code: array(u8, 3),
  cacheline_size: u8,
  latency_timer: u8,
  header_type: u8,
  bist: u8,
  bar: array(u32, 6),
  cardbus_cis: u32,
  subsystem_vendor_id: u16,
  subsystem_id: u16,
  rom: u32,
  capabilities: u8,
});

const msixCap = struct("msix_cap", { id: u8, next: u8, control: u16, table: u32, pba: u32 });

/** struct virtio_pci_cap and what follows it in two kinds of it, virtio 1.3 §4.1.4. */
const virtioCap = struct("virtio_pci_cap", {
  cap_vndr: u8,
  cap_next: u8,
  cap_len: u8,
  cfg_type: u8,
  bar: u8,
  id: u8,
  padding: array(u8, 2),
  offset: u32,
  length: u32,
  more: u32,
});

/** Access to a BAR through the window capability of the config space. */
export interface BarAccess {
  read(offset: number, width: RegisterWidth): number;
  write(offset: number, width: RegisterWidth, value: number): void;
}

/** PCI configuration space of a modern virtio network device (virtio 1.3 §4.1.2). */
export class PciConfig {
  readonly #bytes = new Uint8Array(CONFIG_SPACE_SIZE);
  readonly #writable = new Uint8Array(CONFIG_SPACE_SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #bar: BarAccess;

  constructor(config: SimConfig, bar: BarAccess) {
    this.#bar = bar;
    header.write(this.#bytes, {
      vendor_id: 0x1af4,
      device_id: 0x1041,
      status: 0x10,
      revision_id: 1,
      class_code: [0, 0, 2],
      // BAR 4 is a 64-bit prefetchable memory BAR, BAR 1 a 32-bit one.
      bar: [0, 0, 0, 0, 0xc, 0],
      subsystem_vendor_id: 0x1af4,
      subsystem_id: 0x1100,
      capabilities: MSIX_CAP,
    });
    this.#allow(COMMAND, 0x0406);
    this.#allow32(BAR0 + 4 * MSIX_BAR, -layout.MSIX_BAR_SIZE);
    this.#allow32(BAR0 + 4 * VIRTIO_BAR, -layout.regionSize(config, VIRTIO_BAR));
    this.#allow32(BAR0 + 4 * (VIRTIO_BAR + 1), -1);
    this.#addMsix(config);
    this.#addVirtio(config);
  }

  get memoryEnabled(): boolean {
    return (this.#bytes[COMMAND]! & COMMAND_MEMORY) !== 0;
  }

  get busMaster(): boolean {
    return (this.#bytes[COMMAND]! & COMMAND_BUS_MASTER) !== 0;
  }

  read(offset: number, width: RegisterWidth): number {
    if (offset >= WINDOW_CAP + 16 && offset + width <= WINDOW_CAP + 20) {
      const window = this.#window(offset, width);
      return window === undefined ? 0 : this.#bar.read(window, width);
    }
    if (width === 1) return this.#view.getUint8(offset);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  write(offset: number, width: RegisterWidth, value: number): void {
    if (offset >= WINDOW_CAP + 16 && offset + width <= WINDOW_CAP + 20) {
      const window = this.#window(offset, width);
      if (window !== undefined) this.#bar.write(window, width, value);
      return;
    }
    for (let i = 0; i < width; i++) {
      const mask = this.#writable[offset + i]!;
      const byte = (value >>> (8 * i)) & 0xff;
      this.#bytes[offset + i] = (this.#bytes[offset + i]! & ~mask) | (byte & mask);
    }
  }

  #addMsix({ msixVectors }: SimConfig): void {
    if (msixVectors === 0) {
      this.#bytes[0x34] = 0x50;
      return;
    }
    msixCap.write(
      this.#bytes,
      {
        id: 0x11,
        next: 0x50,
        control: msixVectors - 1,
        table: MSIX_BAR,
        pba: layout.MSIX_PBA | MSIX_BAR,
      },
      MSIX_CAP,
    );
    this.#allow(MSIX_CAP + 2, 0xc000);
  }

  #addVirtio(config: SimConfig): void {
    const cap = (at: number, next: number, type: number, offset: number, length: number, more?: number) =>
      virtioCap.write(
        this.#bytes,
        {
          cap_vndr: 9,
          cap_next: next,
          cap_len: more === undefined ? 16 : 20,
          cfg_type: type,
          bar: type === 5 ? 0 : VIRTIO_BAR,
          offset,
          length,
          ...(more === undefined ? {} : { more }),
        },
        at,
      );
    cap(0x50, 0x60, 1, 0, layout.COMMON_SIZE);
    cap(0x60, 0x70, 3, layout.ISR_OFFSET, layout.ISR_SIZE);
    cap(0x70, 0x80, 4, layout.DEVICE_OFFSET, NET_CONFIG_SIZE);
    cap(0x80, WINDOW_CAP, 2, layout.NOTIFY_OFFSET, layout.notifySize(config), config.notifyMultiplier);
    cap(WINDOW_CAP, config.faults.capabilityLoop ? 0x50 : 0, 5, 0, 0, 0);
    this.#writable[WINDOW_CAP + 4] = 0xff;
    this.#allow32(WINDOW_CAP + 8, -1);
    this.#allow32(WINDOW_CAP + 12, -1);
  }

  /** Where a window access goes in the virtio BAR, §4.1.4.9.1; undefined for a selection that is not legal. */
  #window(at: number, width: RegisterWidth): number | undefined {
    const { bar, offset, length } = virtioCap.read(this.#bytes, WINDOW_CAP);
    const ok = at === WINDOW_CAP + 16 && bar === VIRTIO_BAR && length === width && offset % width === 0;
    return ok ? offset : undefined;
  }

  #allow(offset: number, mask: number): void {
    this.#writable[offset] = mask & 0xff;
    this.#writable[offset + 1] = mask >>> 8;
  }

  #allow32(offset: number, mask: number): void {
    new DataView(this.#writable.buffer).setUint32(offset, mask & ~0xf, true);
    if (mask === -1) this.#writable[offset] = 0xff;
  }
}
