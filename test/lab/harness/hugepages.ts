import { readFileSync, writeFileSync } from "node:fs";

const COUNT = "/proc/sys/vm/nr_hugepages";
const POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/** Sets aside `count` pages of 2 MiB. */
export function hugepages(count: number): void {
  writeFileSync(COUNT, String(count));
  const got = Number(readFileSync(COUNT, "utf8"));
  if (got !== count) throw new Error(`the kernel sets aside ${got} huge pages of ${count}`);
}

/** Sees to it that `count` pages are there that nobody has or has been promised. */
export function freeHugepages(count: number): void {
  const number = (name: string) => Number(readFileSync(`${POOL}/${name}_hugepages`, "utf8"));
  const missing = count - (number("free") - number("resv"));
  if (missing > 0) hugepages(number("nr") + missing);
}
