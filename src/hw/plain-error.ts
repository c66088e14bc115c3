import { SysError } from "./ffi/errno.ts";
import { type ErrorKind, messageOf, OperatorError } from "./operator-error.ts";

interface PlainError {
  readonly what: string;
  readonly why?: string | undefined;
  readonly remedy?: string | undefined;
  readonly kind?: ErrorKind;
  readonly sys?: { readonly call: string; readonly errno: number; readonly path?: string | undefined };
}

/**
 * An error as plain data, to cross from one thread to another.
 * @param who names the thread where the error says nothing for an operator
 */
export function encodeError(error: unknown, who: string): PlainError {
  if (!(error instanceof OperatorError)) return { what: `${who}: ${messageOf(error)}` };
  const { what, why, remedy, kind } = error;
  if (!(error instanceof SysError)) return { what, why, remedy, kind };
  return { what, why, remedy, kind, sys: { call: error.call, errno: error.errno, path: error.path } };
}

export function decodeError(plain: unknown): OperatorError {
  const { what, why, remedy, kind, sys } = plain as PlainError;
  const detail = { why, remedy, kind };
  return sys ? new SysError(sys.call, sys.errno, sys.path, detail) : new OperatorError(what, detail);
}
