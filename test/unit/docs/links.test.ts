import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "../../..");
const PAGES = [
  "README.md",
  "test/lab/README.md",
  ...readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
const read = (page: string) => readFileSync(join(ROOT, page), "utf8");

/** The names that a page's headings have in links. */
const anchors = (page: string) =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

test.each(PAGES)("%s links to what is there", (page) => {
  const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
  const broken = links.filter((link) => {
    if (/^https?:/.test(link)) return false;
    const [path, anchor] = link.split("#") as [string, string | undefined];
    const target = path === "" ? page : join(dirname(page), path);
    if (!existsSync(join(ROOT, target))) return true;
    return anchor !== undefined && !anchors(target).includes(anchor);
  });
  expect(broken).toEqual([]);
});

test("every page is reachable from the README", () => {
  const shown = read("README.md");
  expect(PAGES.slice(1).filter((page) => !shown.includes(`(${page}`))).toEqual([]);
});

test("the guide's settings for a virtual machine are those of the lab", () => {
  const [, recipe] = /<!-- recipe: nested-qemu -->\n```sh\n([\s\S]*?)\n```/.exec(read("docs/guide.md"))!;
  const lab = [...new Bun.Glob("**/*.ts").scanSync(join(ROOT, "scripts/lab.d"))]
    .map((name) => read(`scripts/lab.d/${name}`))
    .join("\n");
  for (const setting of ["q35,kernel-irqchip=split", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"]) {
    expect([recipe!.includes(setting), lab.includes(setting)]).toEqual([true, true]);
  }
  expect([recipe!.includes("iommu_platform=on"), lab.includes("iommu_platform=on")]).toEqual([true, true]);
});
