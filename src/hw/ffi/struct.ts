/** One C type: its size, its alignment, how it is read and written (little endian, as on both platforms served). */
export interface Field<T> {
  readonly size: number;
  readonly align: number;
  get(view: DataView, offset: number): T;
  set(view: DataView, offset: number, value: T): void;
}

const field = <T>(
  size: number,
  get: (view: DataView, offset: number) => T,
  set: (view: DataView, offset: number, value: T) => void,
  align = size,
): Field<T> => ({ size, align, get, set });

export const u8 = field<number>(
  1,
  (v, o) => v.getUint8(o),
  (v, o, x) => v.setUint8(o, x),
);
export const u16 = field<number>(
  2,
  (v, o) => v.getUint16(o, true),
  (v, o, x) => v.setUint16(o, x, true),
);
export const u32 = field<number>(
  4,
  (v, o) => v.getUint32(o, true),
  (v, o, x) => v.setUint32(o, x, true),
);
export const s32 = field<number>(
  4,
  (v, o) => v.getInt32(o, true),
  (v, o, x) => v.setInt32(o, x, true),
);
export const u64 = field<bigint>(
  8,
  (v, o) => v.getBigUint64(o, true),
  (v, o, x) => v.setBigUint64(o, x, true),
);

/** `n` raw bytes (`uint8_t[n]`). Reading copies. */
export const bytes = (n: number): Field<Uint8Array> =>
  field(
    n,
    (v, o) => new Uint8Array(v.buffer, v.byteOffset + o, n).slice(),
    (v, o, x) => new Uint8Array(v.buffer, v.byteOffset + o, n).set(x.subarray(0, n)),
    1,
  );

/** `n` elements of one type in a row (`T[n]`). */
export const array = <T>(of: Field<T>, n: number): Field<T[]> =>
  field(
    of.size * n,
    (v, o) => Array.from({ length: n }, (_, i) => of.get(v, o + i * of.size)),
    (v, o, x) => {
      for (const [i, item] of x.slice(0, n).entries()) of.set(v, o + i * of.size, item);
    },
    of.align,
  );

type Fields = Record<string, Field<never> | Field<unknown>>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
type Values<F extends Fields> = { [K in keyof F]: ValueOf<F[K]> };

export interface Struct<F extends Fields> extends Field<Values<F>> {
  readonly name: string;
  /** Byte offset of each field. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** Decodes the struct at `offset` of `source`. */
  read(source: Uint8Array, offset?: number): Values<F>;
  /** Encodes the given fields at `offset` of `target`; the others keep their bytes. */
  write(target: Uint8Array, values: Partial<Values<F>>, offset?: number): void;
  /** New zeroed bytes of the struct's size with the given fields set. */
  alloc(values?: Partial<Values<F>>): Uint8Array;
}

const viewOf = (source: Uint8Array) => new DataView(source.buffer, source.byteOffset, source.byteLength);

/**
 * Describes a C struct with natural alignment, or without any padding where `packed` is set. Field names are the
 * kernel's or the specification's. For process memory only: DataView may tear, so never read shared memory
 * or a BAR through it.
 */
export function struct<const F extends Fields>(
  name: string,
  fields: F,
  options: { packed?: boolean } = {},
): Struct<F> {
  const offsets = {} as { [K in keyof F]: number };
  let end = 0;
  let align = 1;
  for (const key in fields) {
    const { size, align: fieldAlign } = fields[key]!;
    const a = options.packed ? 1 : fieldAlign;
    end = Math.ceil(end / a) * a;
    offsets[key] = end;
    end += size;
    align = Math.max(align, a);
  }
  const size = Math.ceil(end / align) * align;
  const get = (view: DataView, at: number) => {
    const values = {} as Values<F>;
    for (const key in fields) {
      values[key] = fields[key]!.get(view, at + offsets[key]) as Values<F>[typeof key];
    }
    return values;
  };
  const set = (view: DataView, at: number, values: Partial<Values<F>>) => {
    for (const key in values) {
      (fields[key] as Field<unknown>).set(view, at + offsets[key], values[key]);
    }
  };
  return {
    name,
    size,
    align,
    offsets,
    get,
    set,
    read: (source, offset = 0) => get(viewOf(source), offset),
    write: (target, values, offset = 0) => set(viewOf(target), offset, values),
    alloc: (values = {}) => {
      const target = new Uint8Array(new ArrayBuffer(size));
      set(viewOf(target), 0, values);
      return target;
    },
  };
}
