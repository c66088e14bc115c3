/** JSON has no 64-bit numbers: they travel as objects of this one key. */
const BIG = "$bigint";

/** Plain data, bigints included, as bytes. */
export function toText(data: unknown): Uint8Array {
  const text = JSON.stringify(data, (_key, value) =>
    typeof value === "bigint" ? { [BIG]: `${value}` } : (value as unknown),
  );
  return Buffer.from(text);
}

/** The data again. */
export function fromText(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString(), (_key, value) => {
    const digits = (value as Record<string, unknown> | null)?.[BIG];
    return typeof digits === "string" ? BigInt(digits) : (value as unknown);
  });
}
