import { CONFIG_REGION } from "../../../../src/hw/pci-function.ts";
import type { FakeFunction } from "./fake-function.ts";

/** One vendor-specific capability as a test writes it. */
export interface Cap {
  readonly type: number;
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
  readonly multiplier?: number;
}

/** Capabilities as QEMU lays them out: everything in BAR 4, a page each. */
export const QEMU_CAPS: readonly Cap[] = [
  { type: 1, bar: 4, offset: 0, length: 0x1000 },
  { type: 3, bar: 4, offset: 0x1000, length: 0x1000 },
  { type: 4, bar: 4, offset: 0x2000, length: 0x1000 },
  { type: 2, bar: 4, offset: 0x3000, length: 0x1000, multiplier: 4 },
];

const FIRST_CAP = 0x40;
const CAP_STEP = 0x14;

/** Writes ids and a capability list into the configuration space. */
export function writePciConfig(fn: FakeFunction, deviceId: number, caps: readonly Cap[] = []): void {
  const view = fn.config;
  new Uint8Array(fn.regions.get(CONFIG_REGION)!).fill(0);
  view.setUint16(0, 0x1af4, true);
  view.setUint16(2, deviceId, true);
  view.setUint16(6, 0x10, true);
  view.setUint8(0x34, caps.length > 0 ? FIRST_CAP : 0);
  for (const [i, { type, bar, offset, length, multiplier }] of caps.entries()) {
    const at = FIRST_CAP + i * CAP_STEP;
    view.setUint8(at, 0x09);
    view.setUint8(at + 1, i < caps.length - 1 ? at + CAP_STEP : 0);
    view.setUint8(at + 2, multiplier === undefined ? 16 : 20);
    view.setUint8(at + 3, type);
    view.setUint8(at + 4, bar);
    view.setUint32(at + 8, offset, true);
    view.setUint32(at + 12, length, true);
    if (multiplier !== undefined) view.setUint32(at + 16, multiplier, true);
  }
}

export const LAST_CAP_OF = (count: number) => FIRST_CAP + (count - 1) * CAP_STEP;
