import { readFileSync, writeFileSync } from "node:fs";

const COUNT = "/proc/sys/vm/nr_hugepages";

/** Sets aside `count` pages of 2 MiB. */
export function hugepages(count: number): void {
  writeFileSync(COUNT, String(count));
  const got = Number(readFileSync(COUNT, "utf8"));
  if (got !== count) throw new Error(`the kernel sets aside ${got} huge pages of ${count}`);
}
