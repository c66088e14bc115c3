import { SysError } from "../../../src/hw/ffi/errno.ts";
import type { Doorbell, PciFunction } from "../../../src/hw/pci-function.ts";

/** A function that notes what it is told, for tests of what lies above it. */
export function fakeFunction(options: { msixVectors?: number; refuseIoeventfd?: boolean } = {}) {
  const calls: string[] = [];
  const fn = {
    name: "fake",
    msixVectors: options.msixVectors ?? 4,
    enableMsix: (count: number) => calls.push(`enable ${count}`),
    disableMsix: () => calls.push("disable"),
    setVector: (vector: number, fd: number) => calls.push(`vector ${vector} ${fd}`),
    bindDoorbell: (doorbell: Doorbell, fd: number) => {
      if (options.refuseIoeventfd) throw new SysError("ioctl VFIO_DEVICE_IOEVENTFD", 28);
      calls.push(`bind ${doorbell.offset} ${fd}`);
    },
    unbindDoorbell: (doorbell: Doorbell) => calls.push(`unbind ${doorbell.offset}`),
    write: (_region: number, offset: number, width: number, value: number) =>
      calls.push(`write ${offset}/${width} ${value}`),
  } as unknown as PciFunction;
  return { fn, calls };
}

/** A log that keeps its lines. */
export function keptLog() {
  const lines: string[] = [];
  const keep = (text: string) => void lines.push(text);
  return { lines, log: { debug: keep, info: keep, warn: keep, error: keep } };
}
