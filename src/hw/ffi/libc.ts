import { dlopen, FFIType, type Pointer, read } from "bun:ffi";

const { i32, u32, u64, i64_fast, ptr, cstring } = FFIType;

/**
 * The C library, raw. Variadic calls (`open`, `ioctl`, `fcntl`) have the fixed prototypes that we use.
 * Pointers may be given as a TypedArray, which must stay referenced until the call returns.
 * Nothing outside src/hw/ffi calls these: the wrappers beside this file check every result.
 */
export const { symbols: libc } = dlopen("libc.so.6", {
  open: { args: [ptr, i32, u32], returns: i32 },
  close: { args: [i32], returns: i32 },
  read: { args: [i32, ptr, u64], returns: i64_fast },
  write: { args: [i32, ptr, u64], returns: i64_fast },
  pread: { args: [i32, ptr, u64, u64], returns: i64_fast },
  pwrite: { args: [i32, ptr, u64, u64], returns: i64_fast },
  ioctl: { args: [i32, u64, ptr], returns: i32 },
  fcntl: { args: [i32, i32, u64], returns: i32 },
  mmap: { args: [u64, u64, i32, i32, i32, u64], returns: i64_fast },
  munmap: { args: [u64, u64], returns: i32 },
  memfd_create: { args: [ptr, u32], returns: i32 },
  ftruncate: { args: [i32, u64], returns: i32 },
  eventfd: { args: [u32, i32], returns: i32 },
  epoll_create1: { args: [i32], returns: i32 },
  epoll_ctl: { args: [i32, i32, i32, ptr], returns: i32 },
  epoll_wait: { args: [i32, ptr, i32, i32], returns: i32 },
  poll: { args: [ptr, u64, i32], returns: i32 },
  clock_gettime: { args: [i32, ptr], returns: i32 },
  timerfd_create: { args: [i32, i32], returns: i32 },
  timerfd_settime: { args: [i32, i32, ptr, ptr], returns: i32 },
  socket: { args: [i32, i32, i32], returns: i32 },
  socketpair: { args: [i32, i32, i32, ptr], returns: i32 },
  bind: { args: [i32, ptr, u32], returns: i32 },
  listen: { args: [i32, i32], returns: i32 },
  accept4: { args: [i32, ptr, ptr, i32], returns: i32 },
  connect: { args: [i32, ptr, u32], returns: i32 },
  getsockname: { args: [i32, ptr, ptr], returns: i32 },
  getsockopt: { args: [i32, i32, i32, ptr, ptr], returns: i32 },
  sendmsg: { args: [i32, ptr, i32], returns: i64_fast },
  recvmsg: { args: [i32, ptr, i32], returns: i64_fast },
  pipe2: { args: [ptr, i32], returns: i32 },
  splice: { args: [i32, u64, i32, u64, u64, u32], returns: i64_fast },
  process_vm_readv: { args: [i32, ptr, u64, ptr, u64, u64], returns: i64_fast },
  process_vm_writev: { args: [i32, ptr, u64, ptr, u64, u64], returns: i64_fast },
  // System calls without a wrapper, with up to six arguments.
  syscall: { args: [u64, u64, u64, u64, u64, u64, u64], returns: i64_fast },
  getrlimit: { args: [i32, ptr], returns: i32 },
  strerror: { args: [i32], returns: cstring },
  __errno_location: { args: [], returns: ptr },
});

// The location is per thread; every worker loads this module anew and so has its own.
const errnoLocation = libc.__errno_location() as Pointer;

/** errno of this thread. Valid only right after the failed call, in the same synchronous function. */
export function lastErrno(): number {
  // SAFETY: the C library owns the location for as long as the thread lives.
  return read.i32(errnoLocation, 0);
}

/** A NUL-terminated copy of a string for a `const char *` argument. */
export function cString(text: string): Uint8Array {
  return Buffer.from(text + "\0", "utf8");
}
