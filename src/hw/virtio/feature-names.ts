import * as F from "./features.ts";

const table = (prefixes: readonly string[]): ReadonlyMap<number, string> =>
  new Map(
    Object.entries(F).flatMap(([name, bit]) => {
      const prefix = prefixes.find((candidate) => name.startsWith(candidate));
      return prefix && typeof bit === "number" ? [[bit, name.slice(prefix.length)] as const] : [];
    }),
  );

const TRANSPORT = table(["VIRTIO_F_", "VIRTIO_RING_F_"]);
/** By virtio device type (virtio 1.3 §5). */
const BY_TYPE: Readonly<Record<number, ReadonlyMap<number, string>>> = {
  1: table(["VIRTIO_NET_F_"]),
  2: table(["VIRTIO_BLK_F_"]),
};

/**
 * The names of feature bits, ascending, without their prefix (`MRG_RXBUF`, `RING_PACKED`); a bit without a known
 * name is `bit_N`.
 * @param type virtio device type: 1 network, 2 block
 */
export function featureNames(type: number, features: bigint): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if (F.hasFeature(features, bit)) {
      names.push(TRANSPORT.get(bit) ?? BY_TYPE[type]?.get(bit) ?? `bit_${bit}`);
    }
  }
  return names;
}
