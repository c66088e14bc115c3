import { constants } from "node:os";
import { type ErrorDetail, OperatorError } from "../operator-error.ts";
import { lastErrno, libc } from "./libc.ts";

/** errno values by name, from the running platform. */
export const E = constants.errno;

const NAMES = new Map<number, string>(Object.entries(E).map(([name, number]) => [number, name]));
// Node has two names for 11 and 95; these are the ones the manual pages use.
NAMES.set(11, "EAGAIN");
NAMES.set(95, "EOPNOTSUPP");

/** A system call that failed. `message` reads `open /dev/vfio/7: Permission denied (EACCES)`. */
export class SysError extends OperatorError {
  override readonly name = "SysError";
  /** The errno's name, for example `EACCES`. */
  readonly code: string;

  constructor(
    readonly call: string,
    readonly errno: number,
    readonly path?: string,
    detail: ErrorDetail = {},
  ) {
    const code = NAMES.get(errno) ?? `errno ${errno}`;
    super(path ? `${call} ${path}` : call, {
      ...detail,
      why: detail.why ?? `${libc.strerror(errno)} (${code})`,
    });
    this.code = code;
  }
}

/** Passes a result through, or throws a SysError for a negative one. Call it right after the system call. */
export function checked(result: number | bigint, call: string, path?: string): number {
  if (result < 0) throw new SysError(call, lastErrno(), path);
  return Number(result);
}

/** Whether an error is a failed system call (ours or Node's) with one of these errno names. */
export function isErrno(error: unknown, ...codes: string[]): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && codes.includes(code);
}
