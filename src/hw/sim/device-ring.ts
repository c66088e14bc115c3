import type { Chain } from "./chain.ts";

/** The device's side of a virtqueue, split or packed. All methods throw DeviceFault on malformed content. */
export interface DeviceRing {
  /** Entries. */
  readonly size: number;
  /** Reads the next available chain without taking it; false when there is none. */
  peek(chain: Chain): boolean;
  /** Takes the chain that `peek` has just read. */
  take(chain: Chain): void;
  /** Writes a used element, `written` bytes in the driver's buffers; the driver sees it after `publish`. */
  complete(id: number, slots: number, written: number): void;
  /** Moves the used position where nothing was used, which no device may do. */
  skipUsed(): void;
  /** Makes completions visible; true when the driver wants an interrupt for them. */
  publish(): boolean;
  /** Asks the driver not to notify for now. */
  disableKicks(): void;
  /** Asks the driver to notify again; true when it has added entries meanwhile, which will not be notified. */
  enableKicks(): boolean;
}

/** Where a ring lies (IOVA) and what was negotiated about it. */
export interface RingSetup {
  readonly size: number;
  /** Descriptor table or ring, available ring or driver event area, used ring or device event area. */
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
}
