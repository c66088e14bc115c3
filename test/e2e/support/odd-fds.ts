import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checked } from "../../../src/hw/ffi/errno.ts";
import { closeFd, memfd, O_CLOEXEC, O_RDONLY, O_RDWR, openFd } from "../../../src/hw/ffi/fd.ts";
import { libc } from "../../../src/hw/ffi/libc.ts";
import { unixSocketPair } from "../../../src/hw/ffi/unix-socket.ts";

const F_ADD_SEALS = 1033;
const F_SEAL_WRITE = 8;

/** Fds that are not what a message wants; each is the caller's to close. */
export const oddFd = {
  directory: () => openFd("/", O_RDONLY),
  device: () => openFd("/dev/null", O_RDWR),
  memory: () => memfd("guest-odd", 4096),
  socket: () => {
    const [ours, other] = unixSocketPair();
    closeFd(other);
    return ours;
  },
  /** A file that can be read but not written. */
  readOnly: () => openFd("/proc/self/exe", O_RDONLY),
  /** Memory that nobody can map for writing. */
  writeSealed: (size: number) => {
    const fd = memfd("guest-sealed", size);
    checked(libc.fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), "fcntl F_ADD_SEALS");
    return fd;
  },
  /** An eventfd whose reads block (no EFD_NONBLOCK). */
  blockingEventfd: () => checked(libc.eventfd(0, O_CLOEXEC), "eventfd"),
} as const;

/** A file on tmpfs: memory that can be truncated at any time, as it can not be sealed. */
export class UnsealableFile {
  readonly #directory = mkdtempSync("/dev/shm/guest-");
  readonly path = join(this.#directory, "memory");
  readonly fd: number;

  constructor(size: number) {
    writeFileSync(this.path, "");
    this.fd = openFd(this.path, O_RDWR);
    this.resize(size);
  }

  resize(size: number): void {
    checked(libc.ftruncate(this.fd, size), "ftruncate", this.path);
  }

  close(): void {
    closeFd(this.fd);
    rmSync(this.#directory, { recursive: true });
  }
}
