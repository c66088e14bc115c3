import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Channel } from "../support/front-end/channel.ts";
import { connectGuest } from "../support/front-end/guest.ts";
import { message } from "../support/front-end/protocol.ts";
import { Daemon, ONCE_MS } from "./support/daemon.ts";
import { PrometheusServer, type Sample } from "./support/prometheus-server.ts";
import { passFrames } from "./support/well-behaved.ts";

/** What docs/metrics.md and the dashboard promise, asked of a real Prometheus that scrapes a daemon under traffic. */
const DOCS = new URL("../../docs/", import.meta.url);
const read = (name: string) => readFileSync(new URL(name, DOCS), "utf8");
const LIMIT_MS = 120_000;

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** A daemon that has refused a message, moved its rings to the relay and passes frames. */
async function busyDaemon(): Promise<{ address: string; endTraffic: () => Promise<void> }> {
  const daemon = await Daemon.start({ args: ["--metrics", "127.0.0.1:0"] });
  cleanup.push(() => daemon.dispose());
  const [, address] = /http:\/\/(\S+)\/metrics/.exec(await daemon.logged(/metrics at/))!;
  const bad = await Channel.connect(daemon.socketPath);
  await bad.send(message(99));
  await bad.closed();
  bad.close();
  const guest = await connectGuest({ socketPath: daemon.socketPath, pairs: 2 });
  cleanup.push(() => guest.close());
  await guest.fe.setMtu(1400);
  let done = false;
  const traffic = passFrames(guest, { until: () => done });
  const endTraffic = () => {
    done = true;
    return traffic;
  };
  cleanup.push(endTraffic);
  await daemon.askJson("migrate", "prepare");
  return { address: address!, endTraffic };
}

const documented = () => [...read("metrics.md").matchAll(/^\| `(vdpactl_\w+)`/gm)].map(([, name]) => name!);

/** The dashboard's queries with its variables set, and those of the page. */
function queries(): string[] {
  const { panels } = JSON.parse(read("grafana-dashboard.json")) as {
    panels: { targets: { expr: string }[] }[];
  };
  const drawn = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  const [, examples] = read("metrics.md").split("## Queries\n");
  const written = [...examples!.matchAll(/^ {4}(\S.*?) {3,}/gm)].map(([, expr]) => expr!);
  expect([drawn.length > 10, written.length]).toEqual([true, 4]);
  return [...drawn, ...written].map((expr) =>
    expr.replaceAll("$device", ".*").replaceAll("$__rate_interval", "10s"),
  );
}

/** Conditions, whose answer is empty as long as all is well. */
const isAlarm = (query: string) => / > /.test(query);

test(
  "every documented metric is there, promtool finds nothing, and every query is answered",
  async () => {
    const { address, endTraffic } = await busyDaemon();
    const text = await (await fetch(`http://${address}/metrics`)).text();
    const exposed = [...text.matchAll(/^(vdpactl_\w+)\{/gm)].map(([, name]) => name!);
    expect([...new Set(exposed)].sort()).toEqual(documented().sort());

    const promtool = Bun.spawn(["promtool", "check", "metrics"], {
      stdin: new Blob([text]),
      stdout: "pipe",
      stderr: "pipe",
    });
    const said = await new Response(promtool.stdout).text();
    expect([await promtool.exited, said + (await new Response(promtool.stderr).text())]).toEqual([0, ""]);

    const prometheus = await PrometheusServer.start(address);
    cleanup.push(() => prometheus.close());
    for (const query of queries()) {
      if (isAlarm(query)) await prometheus.query(query);
      else expect(await answered(prometheus, query)).not.toBeEmpty();
    }
    const rate = await answered(prometheus, 'rate(vdpactl_queue_entries_total{type="rx"}[1m]) > 0');
    expect(rate.map(({ metric }) => metric["queue"])).toContain("0");
    await endTraffic();
  },
  LIMIT_MS,
);

/** Rates need two scrapes. */
async function answered(prometheus: PrometheusServer, query: string): Promise<Sample[]> {
  const deadline = performance.now() + ONCE_MS;
  for (;;) {
    const samples = await prometheus.query(query);
    if (samples.length > 0) return samples;
    if (performance.now() > deadline) throw new Error(`no answer to ${query}`);
    await Bun.sleep(100);
  }
}
