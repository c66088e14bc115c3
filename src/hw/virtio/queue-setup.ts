import type { PciFunction } from "../pci-function.ts";
import { deviceError } from "./device-error.ts";
import type { QueueSetup } from "./transport.ts";

/** Alignments of the three parts (virtio 1.3 §2.7 and §2.8.10.1). */
const SPLIT = [16n, 2n, 4n] as const;
const PACKED = [16n, 4n, 4n] as const;

/** Refuses a ring that no device may be given. */
export function checkQueueSetup(
  fn: PciFunction,
  index: number,
  setup: QueueSetup,
  limits: { maxSize: number; packed: boolean },
): void {
  const { size } = setup;
  const { maxSize, packed } = limits;
  const refuse = (why: string) => deviceError(fn, `queue ${index} can not be set up`, why);
  if (maxSize === 0) throw refuse("the device has no such queue");
  if (size < 1 || size > maxSize) throw refuse(`${size} entries, the device takes 1 to ${maxSize}`);
  if (!packed && (size & (size - 1)) !== 0) throw refuse(`${size} entries are no power of two`);
  const [desc, driver, device] = packed ? PACKED : SPLIT;
  if (setup.desc % desc || setup.driver % driver || setup.device % device) {
    throw refuse(
      `a part is misaligned (desc 0x${setup.desc.toString(16)}, driver 0x${setup.driver.toString(16)}, ` +
        `device 0x${setup.device.toString(16)})`,
    );
  }
}
