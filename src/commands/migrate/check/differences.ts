import { type Needs, number, offeredNames } from "./needs.ts";
import type { ProbedDevice } from "./probe-file.ts";

/** Something that the guest needs and the other side's device lacks. */
export interface Difference {
  readonly what: string;
  readonly here: string;
  readonly there: string;
}

/** Why the guest can not go to that device; empty when it can. */
export function differences(needs: Needs, other: ProbedDevice): Difference[] {
  const found: Difference[] = [];
  const there = new Set(other.features?.names ?? []);
  const offered = offeredNames(other);
  const unsure = other.features?.source === "kernel" ? "its kernel driver did not accept it" : "not offered";
  for (const name of needs.features) {
    if (offered.has(name)) continue;
    found.push({ what: `feature ${name}`, here: needs.in_use ? "in use" : "offered", there: unsure });
  }
  const least = (what: string, here: number | null, most: number | null) => {
    if (here !== null && most !== null && here > most) {
      found.push({ what, here: String(here), there: String(most) });
    }
  };
  // Pairs beyond the first are switched on by the device's control queue.
  const usable = offered.has("MQ") ? number(other.config?.["max_virtqueue_pairs"]) : 1;
  least("queue pairs", needs.pairs, usable);
  least("ring size", needs.queue_size, other.queue_size);
  least("MTU", needs.mtu, there.has("MTU") ? number(other.config?.["mtu"]) : null);
  if (other.layout === "legacy") {
    found.push({
      what: "layout",
      here: "rings at any position",
      there: "legacy registers, whose rings can not be relayed",
    });
  }
  if (!there.has("ACCESS_PLATFORM")) {
    found.push({ what: "feature ACCESS_PLATFORM", here: "needed by vdpactl", there: unsure });
  }
  return found;
}
