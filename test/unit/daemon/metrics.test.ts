import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { DEVICE_METRICS, QUEUE_METRICS } from "../../../src/daemon/metrics/metric-table.ts";
import { parseMetricsAddress } from "../../../src/daemon/metrics/metrics-server.ts";
import { prometheusText } from "../../../src/daemon/metrics/prometheus-text.ts";
import { deviceState } from "../../../src/daemon/state/device-state.ts";
import { StateBoard } from "../../../src/daemon/state/state-board.ts";
import { TrafficSampler } from "../../../src/daemon/state/traffic-sampler.ts";
import { Counters } from "../../../src/vdpa/counters.ts";

const names = [...DEVICE_METRICS, ...QUEUE_METRICS].map(({ name }) => name);

test("names follow the conventions: unique, and counters end with _total", () => {
  expect(new Set(names).size).toBe(names.length);
  for (const { name, type, help } of [...DEVICE_METRICS, ...QUEUE_METRICS]) {
    expect([name, name.endsWith("_total")]).toEqual([name, type === "counter"]);
    expect(name).toMatch(/^vdpactl_(device|queue)_[a-z_]+$/);
    expect(help).toMatch(/\.$/);
  }
});

test("all of them are documented, and nothing else is", () => {
  const page = readFileSync(new URL("../../../docs/metrics.md", import.meta.url), "utf8");
  const documented = [...page.matchAll(/^\| `(vdpactl_\w+)`/gm)].map(([, name]) => name!);
  const special = ["vdpactl_device_info", "vdpactl_device_refused_messages_total"];
  expect(documented.sort()).toEqual([...names, ...special].sort());
});

test("the dashboard asks for metrics that there are", () => {
  const file = readFileSync(new URL("../../../docs/grafana-dashboard.json", import.meta.url), "utf8");
  const { panels } = JSON.parse(file) as { panels: { targets: { expr: string }[] }[] };
  const asked = panels.flatMap(({ targets }) =>
    targets.flatMap(({ expr }) => expr.match(/vdpactl_\w+/g) ?? []),
  );
  expect(asked.length).toBeGreaterThan(10);
  const known = new Set([...names, "vdpactl_device_refused_messages_total"]);
  expect(asked.filter((name) => !known.has(name))).toEqual([]);
});

test("a device that has not shown its state yet; labels are escaped", () => {
  const shown = {
    name: "sim",
    meeting: { role: "server", path: '/tmp/a"b\\c\nd' } as const,
    board: new StateBoard(),
    counters: new Counters(),
    since: performance.now(),
  };
  const text = prometheusText([deviceState({ ...shown, sampler: new TrafficSampler(shown) })]);
  expect(text).toContain('vdpactl_device_running{device="sim",socket="/tmp/a\\"b\\\\c\\nd"} 0\n');
  expect(text).not.toContain("NaN");
  expect(text).not.toContain("vdpactl_device_link_up{");
});

test("addresses", () => {
  expect(parseMetricsAddress("127.0.0.1:9100")).toEqual({ hostname: "127.0.0.1", port: 9100 });
  expect(parseMetricsAddress("[::1]:9100")).toEqual({ hostname: "::1", port: 9100 });
  expect(parseMetricsAddress("localhost:0")).toEqual({ hostname: "localhost", port: 0 });
  expect(parseMetricsAddress("unix:/run/x.sock")).toEqual({ unix: "/run/x.sock" });
  for (const wrong of [
    "9100",
    ":9100",
    "::1:9100",
    "a:70000",
    "unix:",
    "a b:1",
    "http://a:1",
    "a:1/metrics",
  ]) {
    expect(() => parseMetricsAddress(wrong)).toThrow(/no address for metrics/);
  }
});
