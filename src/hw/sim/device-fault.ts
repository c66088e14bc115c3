/**
 * The device was told to do what the specification forbids: DMA to an address that is not mapped, or malformed
 * ring content. The device stops and asks to be reset (DEVICE_NEEDS_RESET, virtio 1.3 §2.1.2).
 */
export class DeviceFault extends Error {
  override readonly name = "DeviceFault";
}
