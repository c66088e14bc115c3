import type { IoctlArgument, Kernel } from "./kernel.ts";
import type { IoctlName } from "./uapi.ts";

/** An open VFIO device: its fd, how it is called in errors, and the kernel behind it. */
export class DeviceFile {
  constructor(
    readonly kernel: Kernel,
    readonly fd: number,
    /** For example `/dev/vfio/7 (0000:00:04.0)`. */
    readonly path: string,
  ) {}

  ioctl(request: IoctlName, argument: IoctlArgument = 0): number {
    return this.kernel.ioctl(this.fd, request, argument, this.path);
  }

  read(bytes: Uint8Array, offset: number): void {
    this.kernel.pread(this.fd, bytes, offset, this.path);
  }

  write(bytes: Uint8Array, offset: number): void {
    this.kernel.pwrite(this.fd, bytes, offset, this.path);
  }
}
