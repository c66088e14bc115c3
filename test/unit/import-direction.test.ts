import { expect, test } from "bun:test";
import { dirname, join, relative } from "node:path";

const SRC = join(import.meta.dir, "../../src");

/** What each part of src may import, besides itself and its own. Imports point down. */
const ALLOWED: Record<string, readonly string[]> = {
  "main.ts": ["cli", "commands", "daemon"],
  commands: ["cli", "daemon", "vhost-user", "vdpa", "memory", "hw"],
  cli: ["hw"],
  daemon: ["cli", "vhost-user", "vdpa", "memory", "hw"],
  "vhost-user": ["vdpa", "memory", "hw"],
  vdpa: ["relay", "memory", "hw"],
  relay: ["memory", "hw"],
  memory: ["hw"],
  hw: [],
};
/** The same within src/hw, whose top-level files anybody there may import. */
const ALLOWED_HW: Record<string, readonly string[]> = {
  ffi: [],
  pci: ["ffi"],
  vfio: ["ffi", "pci"],
  virtio: ["ffi", "pci"],
  sim: ["ffi", "pci", "virtio"],
};

const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]+)"/g;

async function imports(): Promise<{ from: string; to: string }[]> {
  const found: { from: string; to: string }[] = [];
  for await (const file of new Bun.Glob("**/*.ts").scan(SRC)) {
    for (const [, target] of (await Bun.file(join(SRC, file)).text()).matchAll(IMPORT)) {
      found.push({ from: file, to: relative(SRC, join(SRC, dirname(file), target!)) });
    }
  }
  return found;
}

const part = (path: string, depth: number) => path.split("/")[depth]!;

test("imports point down", async () => {
  const all = (await imports()).filter(({ to }) => !to.endsWith("package.json"));
  expect(all.length).toBeGreaterThan(100);
  const wrong = all.filter(({ from, to }) => {
    const [a, b] = [part(from, 0), part(to, 0)];
    if (a !== b) return !ALLOWED[a]?.includes(b);
    if (a !== "hw" || to.split("/").length < 3) return false;
    const [c, d] = [part(from, 1), part(to, 1)];
    if (from.split("/").length < 3) return d !== "ffi";
    return c !== d && !ALLOWED_HW[c]?.includes(d);
  });
  expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
});

test("every part of the source tree has its rule", async () => {
  const parts = new Set<string>();
  for await (const file of new Bun.Glob("**/*.ts").scan(SRC)) parts.add(part(file, 0));
  expect([...parts].filter((name) => !(name in ALLOWED))).toEqual([]);
});
