import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectGuest } from "../support/front-end/guest.ts";
import { Daemon } from "./support/daemon.ts";

/** A record of `probe --json` of a device like the simulated one. */
const FEATURES = {
  source: "device",
  // MTU, MAC, MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, MQ, CTRL_MAC_ADDR, INDIRECT_DESC, EVENT_IDX, VERSION_1,
  // ACCESS_PLATFORM, RING_PACKED, RING_RESET
  mask: "0x10730c78028",
  names: [
    "MTU",
    "MAC",
    "MRG_RXBUF",
    "STATUS",
    "CTRL_VQ",
    "CTRL_RX",
    "MQ",
    "CTRL_MAC_ADDR",
    "INDIRECT_DESC",
    "EVENT_IDX",
    "VERSION_1",
    "ACCESS_PLATFORM",
    "RING_PACKED",
    "RING_RESET",
  ],
};
const OTHER = {
  bdf: "0000:00:05.0",
  type: "net",
  layout: "modern",
  features: FEATURES,
  config: { mac: "52:54:00:00:00:02", mtu: 1500, max_virtqueue_pairs: 8 },
  queue_size: 256,
  msix_vectors: 18,
};
const without = (...names: string[]) => {
  const bits: Record<string, number> = { MTU: 3, MQ: 22, RING_PACKED: 34, ACCESS_PLATFORM: 33 };
  const mask = names.reduce((rest, name) => rest & ~(1n << BigInt(bits[name]!)), BigInt(FEATURES.mask));
  const kept = FEATURES.names.filter((name) => !names.includes(name));
  return { ...FEATURES, mask: `0x${mask.toString(16)}`, names: kept };
};

let folder: string;
let daemon: Daemon;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "vdpactl-check-"));
  daemon = await Daemon.start();
});
afterEach(async () => {
  await daemon.dispose();
  rmSync(folder, { recursive: true, force: true });
});

function fileOf(content: unknown): string {
  const path = join(folder, "other.json");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}
const check = (content: unknown) => daemon.ask("migrate", "check", "--with", fileOf(content), "--json");

test("a device like this one fits", async () => {
  const { code, out } = await check([OTHER]);
  expect(JSON.parse(out)).toMatchObject({ fits: true, differences: [], there: OTHER.bdf });
  expect(code).toBe(0);
}, 60_000);

test("with a guest, only what it uses counts", async () => {
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2, ringSize: 64 });
  try {
    const smaller = {
      ...OTHER,
      features: without("RING_PACKED", "MTU"),
      config: { ...OTHER.config, max_virtqueue_pairs: 2, mtu: null },
      queue_size: 64,
    };
    expect((await check([smaller])).code).toBe(0);
    const tooSmall = { ...smaller, config: { ...smaller.config, max_virtqueue_pairs: 1 }, queue_size: 32 };
    const { code, out } = await check([tooSmall]);
    expect(code).toBe(6);
    expect(JSON.parse(out).differences).toEqual([
      { what: "queue pairs", here: "2", there: "1" },
      { what: "ring size", here: "64", there: "32" },
    ]);
  } finally {
    guest.close();
  }
}, 60_000);

test("what a guest may use and is not there", async () => {
  const { code, out } = await check([
    {
      ...OTHER,
      layout: "legacy",
      features: without("RING_PACKED", "MQ", "ACCESS_PLATFORM"),
      config: { ...OTHER.config, mtu: 1000 },
    },
  ]);
  expect(code).toBe(6);
  expect((JSON.parse(out).differences as { what: string }[]).map(({ what }) => what)).toEqual([
    "feature MQ",
    "feature RING_PACKED",
    "queue pairs",
    "MTU",
    "layout",
    "feature ACCESS_PLATFORM",
  ]);
  const text = await daemon.ask(
    "migrate",
    "check",
    "--with",
    fileOf([{ ...OTHER, features: without("MQ") }]),
  );
  expect(text.out).toBe("feature MQ   offered  not offered\nqueue pairs  8        1\n");
}, 60_000);

test("files that say nothing", async () => {
  const held = { ...OTHER, features: null };
  const cases: [unknown, RegExp][] = [
    ["{", /it is no JSON/],
    ["[]", /it has 0 network devices/],
    [[OTHER, OTHER], /it has 2 network devices/],
    [{ bdf: "x" }, /it is no output of vdpactl probe --json/],
    [[{ ...OTHER, queue_size: "many" }], /queue_size/],
    [[{ ...OTHER, features: { ...FEATURES, mask: "0xzz" } }], /features.mask/],
    [[held], /a process had the device/],
  ];
  for (const [content, why] of cases) {
    const { code, out, err } = await check(content);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toMatch(why);
  }
  expect((await daemon.ask("migrate", "check", "--with", "/nonexistent")).code).toBe(2);
  const { code, err } = await daemon.ask("migrate", "check");
  expect([code, err.includes("--with is missing")]).toEqual([2, true]);
}, 60_000);
