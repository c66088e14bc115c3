import { OperatorError } from "../hw/operator-error.ts";
import { nearest } from "./nearest.ts";

const invalid = (text: string, why: string, remedy?: string) =>
  new OperatorError(`"${text}" is not a valid value`, { why, remedy, kind: "usage" });

/** Any text but the empty one. */
export function text(given: string): string {
  if (given === "") throw invalid(given, "it is empty");
  return given;
}

/** An integer from `min` to `max`, decimal or 0x hexadecimal. */
export const integer =
  (min: number, max: number) =>
  (given: string): number => {
    const number = /^(\d+|0x[\da-f]+)$/i.test(given) ? Number(given) : Number.NaN;
    if (!(number >= min && number <= max)) throw invalid(given, `a number from ${min} to ${max} is needed`);
    return number;
  };

/** An unsigned 64-bit mask, decimal or 0x hexadecimal. */
export function mask64(given: string): bigint {
  const mask = /^(\d+|0x[\da-f]+)$/i.test(given) ? BigInt(given) : -1n;
  if (mask < 0n || mask >= 1n << 64n) throw invalid(given, "a 64-bit number such as 0x1ff is needed");
  return mask;
}

/** File permissions in octal such as `0660`. */
export function octalMode(given: string): number {
  if (!/^0?[0-7]{3}$/.test(given)) throw invalid(given, "permissions have three octal digits, as in 0660");
  return Number.parseInt(given, 8);
}

/** One of the given words, which completions and manual pages find beside the parser. */
export const oneOf = <const T extends string>(...words: readonly T[]) => {
  const parse = (given: string): T => {
    const found = words.find((word) => word === given);
    if (found !== undefined) return found;
    const near = nearest(given, words);
    throw invalid(given, `one of ${words.join(", ")} is needed`, near && `write ${near}`);
  };
  return Object.assign(parse, { words });
};

/** A number from `min` to `max`, with or without a fraction. */
export const decimal =
  (min: number, max: number) =>
  (given: string): number => {
    const number = /^\d+(\.\d+)?$/.test(given) ? Number(given) : Number.NaN;
    if (!(number >= min && number <= max)) throw invalid(given, `a number from ${min} to ${max} is needed`);
    return number;
  };
