import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { DmaSpace } from "../hw/pci-function.ts";
import type { GuestMemoryOptions } from "./guest-memory.ts";
import type { BeforeChunk, MappedRegion } from "./mapped-region.ts";
import { nameOf, rangesMeet } from "./region.ts";

export interface ExchangeResult {
  /** Why nothing was exchanged. */
  readonly failure?: { readonly error: unknown };
  /** Regions of `removed` that could not be mapped again after the failure. */
  readonly regions: readonly MappedRegion[];
}

/**
 * Takes regions from the device and gives it others. New ones are mapped first where they do not meet an old one,
 * so that an error leaves the old ones untouched; otherwise they are mapped again. Removed regions are closed on
 * success, added ones on failure.
 */
export function exchangeRegions(
  dma: DmaSpace,
  removed: readonly MappedRegion[],
  added: readonly MappedRegion[],
  options: GuestMemoryOptions,
): ExchangeResult {
  const inTheWay = removed.filter((old) => added.some((fresh) => meet(old, fresh)));
  const beforeChunk = progress(added, options);
  try {
    for (const region of inTheWay) region.unmapDma(dma);
    for (const region of added) region.mapDma(dma, beforeChunk);
  } catch (error) {
    for (const region of added) {
      attempt(region, options, () => region.unmapDma(dma));
      region.close();
    }
    const lost = inTheWay.filter((region) => !attempt(region, options, () => region.mapDma(dma)));
    for (const region of lost) region.close();
    return { failure: { error }, regions: lost };
  }
  for (const region of removed) {
    attempt(region, options, () => region.unmapDma(dma));
    region.close();
  }
  return { regions: [] };
}

function meet({ description: a }: MappedRegion, { description: b }: MappedRegion): boolean {
  return rangesMeet(a.gpa, a.size, b.gpa, b.size);
}

/** What could not be undone is logged: there is nobody left to whom it could be an error. */
function attempt(region: MappedRegion, { log }: GuestMemoryOptions, step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    log.error(`memory region ${nameOf(region.description)}: ${messageOf(error)}`, {
      event: "memory_region_kept",
      region: nameOf(region.description),
      error: messageOf(error),
    });
    return false;
  }
}

function progress(added: readonly MappedRegion[], options: GuestMemoryOptions): BeforeChunk {
  const total = added.reduce((sum, { description }) => sum + description.size, 0n);
  let done = 0n;
  return (bytes) => {
    if (options.shouldStop?.()) throw new OperatorError("stopped while guest memory was being mapped");
    options.onProgress?.(done, total);
    done += bytes;
  };
}
