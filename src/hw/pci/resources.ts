/** A BAR as the kernel has placed it. */
export interface Resource {
  readonly bar: number;
  /** Physical address, or first port. */
  readonly start: bigint;
  /** Bytes. */
  readonly size: number;
  readonly kind: "memory" | "io";
  readonly is64bit: boolean;
  readonly prefetchable: boolean;
}

// The kernel's resource flags (include/linux/ioport.h).
const IORESOURCE_IO = 0x100n;
const IORESOURCE_MEM = 0x200n;
const IORESOURCE_PREFETCH = 0x2000n;
const IORESOURCE_MEM_64 = 0x100000n;

const LINE = /^(0x[\da-f]+) (0x[\da-f]+) (0x[\da-f]+)$/i;

/** Decodes sysfs' `resource`, one line `start end flags` for each; the first six are the BARs. Empty ones are left out. */
export function readResources(text: string): Resource[] {
  return text
    .split("\n")
    .slice(0, 6)
    .flatMap((line, bar) => {
      const [, first = "0", last = "0", bits = "0"] = LINE.exec(line.trim()) ?? [];
      const [start, end, flags] = [BigInt(first), BigInt(last), BigInt(bits)];
      const kind = flags & IORESOURCE_IO ? "io" : flags & IORESOURCE_MEM ? "memory" : undefined;
      if (!kind || end < start) return [];
      return {
        bar,
        start,
        size: Number(end - start + 1n),
        kind,
        is64bit: (flags & IORESOURCE_MEM_64) !== 0n,
        prefetchable: (flags & IORESOURCE_PREFETCH) !== 0n,
      };
    });
}
