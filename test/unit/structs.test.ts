import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Struct } from "../../src/hw/ffi/struct.ts";
import { IOCTLS } from "../../src/hw/vfio/uapi.ts";

/**
 * Every struct of src/hw and every constant named like the kernel's is compared with what the C compiler makes of the
 * installed headers. The simulated device's own structs are left out: the driver's tests run against them.
 */
const HEADERS = [
  "linux/ethtool.h",
  "linux/vfio.h",
  "linux/virtio_blk.h",
  "linux/virtio_config.h",
  "linux/virtio_net.h",
  "linux/virtio_pci.h",
  "linux/virtio_ring.h",
  "net/if.h",
  "sys/epoll.h",
  "sys/socket.h",
  "sys/timerfd.h",
  "sys/uio.h",
];

/** Structs that older headers lack, by the macro that came with them, and their layout in Linux 6.12. */
const LATER: Record<string, { since: string; size: number; offsets: number[] }> = {
  vfio_device_bind_iommufd: { since: "VFIO_DEVICE_BIND_IOMMUFD", size: 16, offsets: [0, 4, 8, 12] },
  vfio_device_attach_iommufd_pt: { since: "VFIO_DEVICE_ATTACH_IOMMUFD_PT", size: 12, offsets: [0, 4, 8] },
  iommu_ioas_alloc: { since: "IOMMU_IOAS_ALLOC", size: 12, offsets: [0, 4, 8] },
  iommu_ioas_iova_ranges: {
    since: "IOMMU_IOAS_IOVA_RANGES",
    size: 32,
    offsets: [0, 4, 8, 12, 16, 24],
  },
  iommu_iova_range: { since: "IOMMU_IOAS_IOVA_RANGES", size: 16, offsets: [0, 8] },
  iommu_ioas_map: { since: "IOMMU_IOAS_MAP", size: 40, offsets: [0, 4, 8, 12, 16, 24, 32] },
  iommu_ioas_unmap: { since: "IOMMU_IOAS_UNMAP", size: 24, offsets: [0, 4, 8, 16] },
};
/** ioctl numbers of the same age. */
const LATER_IOCTLS: Record<string, number> = {
  VFIO_DEVICE_BIND_IOMMUFD: 0x3b76,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: 0x3b77,
  IOMMU_IOAS_ALLOC: 0x3b81,
  IOMMU_IOAS_IOVA_RANGES: 0x3b84,
  IOMMU_IOAS_MAP: 0x3b85,
  IOMMU_IOAS_UNMAP: 0x3b86,
};
/** Structs to which newer kernels append fields; they take the shorter one (argsz), or we read only the beginning. */
const GROWING = new Set([
  "vfio_device_info",
  "vfio_device_bind_iommufd",
  "vfio_device_attach_iommufd_pt",
  "virtio_net_config",
  "virtio_blk_config",
]);
const C_FIELDS: Record<string, string> = {
  "timespec.sec": "tv_sec",
  "timespec.nsec": "tv_nsec",
  "itimerspec.interval_sec": "it_interval.tv_sec",
  "itimerspec.interval_nsec": "it_interval.tv_nsec",
  "itimerspec.value_sec": "it_value.tv_sec",
  "itimerspec.value_nsec": "it_value.tv_nsec",
};
const ENUMERATORS = /^VFIO_PCI_.*_INDEX$/;

const SRC = join(import.meta.dir, "../../src/hw");
const structs: Struct<Record<string, never>>[] = [];
const constants = new Map<string, number>();
const unexported: string[] = [];
let c: Record<string, number>;

beforeAll(async () => {
  for (const file of new Bun.Glob("**/*.ts").scanSync(SRC)) {
    if (file.startsWith("sim/") || file === "ffi/struct.ts") continue;
    const defined = [...(await Bun.file(join(SRC, file)).text()).matchAll(/\bstruct\(\s*"(\w+)"/g)];
    const module = (await import(join(SRC, file))) as Record<string, unknown>;
    const exported = Object.values(module).filter(isStruct);
    structs.push(...exported.filter(({ name }) => defined.some(([, n]) => n === name)));
    for (const [, name] of defined) {
      if (!exported.some((candidate) => candidate.name === name)) unexported.push(`${name} in ${file}`);
    }
    for (const [name, value] of Object.entries(module)) {
      if (/^(VFIO|VIRTIO|IOMMU|VRING)_/.test(name) && typeof value === "number") constants.set(name, value);
    }
  }
  for (const [name, value] of Object.entries(IOCTLS)) constants.set(name, value);
  c = await compileAndRun(program());
});

function isStruct(value: unknown): value is Struct<Record<string, never>> {
  return typeof value === "object" && value !== null && "offsets" in value && "alloc" in value;
}

function program(): string {
  const print = (key: string, expression: string) => `printf("${key} %lld\\n", (long long)(${expression}));`;
  const structLines = structs.flatMap(({ name, offsets }) => {
    const lines = Object.keys(offsets).map((field) => {
      const cField = C_FIELDS[`${name}.${field}`] ?? field;
      return print(`${name}.${field}`, `offsetof(struct ${name}, ${cField})`);
    });
    lines.push(print(name, `sizeof(struct ${name})`));
    const since = LATER[name]?.since;
    return since ? [`#ifdef ${since}`, ...lines, "#endif"] : lines;
  });
  const constantLines = [...constants.keys()].flatMap((name) =>
    ENUMERATORS.test(name) ? [print(name, name)] : [`#ifdef ${name}`, print(name, name), "#endif"],
  );
  return [
    "#define _GNU_SOURCE",
    "#include <stddef.h>",
    "#include <stdio.h>",
    "#if __has_include(<linux/iommufd.h>)",
    "#include <linux/iommufd.h>",
    "#endif",
    ...HEADERS.map((header) => `#include <${header}>`),
    "int main(void) {",
    ...structLines,
    ...constantLines,
    print("epoll_event", "sizeof(struct epoll_event)"),
    print("epoll_event.data", "offsetof(struct epoll_event, data)"),
    "return 0; }",
  ].join("\n");
}

async function compileAndRun(source: string): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), "vdpactl-structs-"));
  try {
    writeFileSync(join(folder, "layout.c"), source);
    await run(["cc", "-o", join(folder, "layout"), join(folder, "layout.c")]);
    const lines = (await run([join(folder, "layout")])).trim().split("\n");
    return Object.fromEntries(
      lines.map((line) => line.split(" ")).map(([key, value]) => [key, Number(value)]),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function run(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [out, error, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command[0]} failed:\n${error}`);
  return out;
}

describe("structs against the C compiler", () => {
  test("all are found and can be reached", () => {
    expect(unexported).toEqual([]);
    const names = structs.map(({ name }) => name);
    expect(names).toContain("vfio_iommu_type1_dma_map");
    expect(names).toContain("msghdr");
    expect(names).toContain("itimerspec");
    expect(names).toContain("virtio_pci_common_cfg");
  });

  test("every offset and size is the compiler's", () => {
    const recorded: string[] = [];
    for (const { name, offsets, size } of structs) {
      const later = LATER[name];
      const installed = name in c;
      if (!installed) recorded.push(name);
      const expected = installed
        ? Object.fromEntries(Object.keys(offsets).map((field) => [field, c[`${name}.${field}`]]))
        : Object.fromEntries(Object.keys(offsets).map((field, i) => [field, later?.offsets[i]]));
      expect({ name, ...offsets } as Record<string, unknown>).toEqual({ name, ...expected });
      const cSize = installed ? c[name]! : later!.size;
      if (GROWING.has(name)) expect(size, name).toBeLessThanOrEqual(cSize);
      else expect(size, name).toBe(cSize);
    }
    if (recorded.length > 0) {
      console.warn(`not in the installed headers, compared with Linux 6.12's layout: ${recorded.join(", ")}`);
    }
    expect(recorded.every((name) => name in LATER)).toBe(true);
  });

  test("every ioctl number and constant is the header's", () => {
    for (const [name, value] of constants) {
      const expected = c[name] ?? LATER_IOCTLS[name];
      if (expected !== undefined) expect(value, name).toBe(expected);
    }
    const unchecked = Object.keys(IOCTLS).filter((name) => !(name in c) && !(name in LATER_IOCTLS));
    expect(unchecked).toEqual([]);
    expect(c["VIRTIO_F_VERSION_1"]).toBe(32);
  });

  test("epoll_event is packed on x86-64 only", () => {
    expect([c["epoll_event"], c["epoll_event.data"]]).toEqual(process.arch === "x64" ? [12, 4] : [16, 8]);
  });
});
