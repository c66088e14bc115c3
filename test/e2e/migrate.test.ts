import { describe, expect, test } from "bun:test";
import type { MigrationRecord } from "../../src/commands/migrate/record.ts";
import type { GuestOptions } from "../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import type { Daemon } from "./support/daemon.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { readLines } from "./support/read-lines.ts";
import { passFrames } from "./support/well-behaved.ts";

const { start, guestOf } = forEachTest();

const modes = ({ queues }: MigrationRecord) => queues.map(({ mode }) => mode);
const migrate = (daemon: Daemon, ...args: string[]) => daemon.askJson<MigrationRecord>("migrate", ...args);

for (const packed of [false, true]) {
  // A packed ring shows its position for certain where a chain takes one descriptor of it.
  const layout: GuestOptions = packed ? { packed, layouts: ["single", "indirect"], indirect: true } : {};

  describe(packed ? "packed" : "split", () => {
    test("prepare and cancel under traffic: nothing is lost, and the rings go there and back", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { ...layout, pairs: 1 });
      let done = false;
      const traffic = exchange(guest, { until: () => done });
      const prepared = await migrate(daemon, "prepare");
      expect(modes(prepared)).toEqual(["relay", "relay"]);
      expect([prepared.phase, prepared.held]).toEqual(["prepared", true]);
      for (const { gap_us } of prepared.queues) expect(gap_us).toBeGreaterThan(0);
      // Both layouts pass the point at which they could go back, again and again, and stay.
      const relayed = prepared.relayed;
      while ((await migrate(daemon, "status")).relayed < relayed + 2000);
      expect(modes(await migrate(daemon, "status"))).toEqual(["relay", "relay"]);
      const cancelled = await migrate(daemon, "cancel", "--timeout", "60");
      expect(modes(cancelled)).toEqual(["direct", "direct"]);
      expect([cancelled.phase, cancelled.all_direct]).toEqual(["direct", true]);
      expect(cancelled.queues.map(({ mode_switches }) => mode_switches)).toEqual([2, 2]);
      done = true;
      expect(trafficProblem(await traffic)).toBeUndefined();
    }, 120_000);

    test("without traffic the rings stay relayed, and cancel says until when", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, layout);
      await passFrames(guest, { frames: 100 });
      await migrate(daemon, "prepare");
      const { code, out, err } = await daemon.ask("migrate", "cancel", "--timeout", "0");
      expect(code).toBe(0);
      expect(out).toMatch(/^0 +rx +relay/);
      expect(err).toMatch(
        packed
          ? /queue 1 stays relayed for 412 more descriptors/
          : /queue 1 stays relayed for 65436 more entries/,
      );
      expect((await migrate(daemon, "status")).phase).toBe("returning");
    }, 60_000);
  });
}

test("rings that start while they are held are relayed from the beginning", async () => {
  const daemon = await start();
  expect((await migrate(daemon, "prepare")).phase).toBe("no front-end");
  const guest = await guestOf(daemon);
  await passFrames(guest, { frames: 100 });
  const status = await migrate(daemon, "status");
  expect(status.phase).toBe("prepared");
  expect(status.queues.map(({ relayed }) => relayed >= 100)).toEqual([true, true, true, true]);
}, 60_000);

test("with --datapath relay no ring is on its way back, and cancel does not wait for one", async () => {
  const daemon = await start({ args: ["--datapath", "relay"] });
  const guest = await guestOf(daemon, { pairs: 1 });
  await passFrames(guest, { frames: 100 });
  expect((await migrate(daemon, "status")).phase).toBe("relayed");
  const { code, err } = await daemon.ask("migrate", "cancel", "--timeout", "600");
  expect([code, err]).toEqual([
    0,
    "warning: queue 0 stays relayed as the device is served with --datapath relay\n" +
      "warning: queue 1 stays relayed as the device is served with --datapath relay\n",
  ]);
}, 60_000);

test("status into a pipe: a line for each change of phase or mode", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon, { pairs: 1 });
  await passFrames(guest, { frames: 100 });
  const status = daemon.spawn("migrate", "status");
  const lines = readLines(status.stdout);
  const next = async () => (await lines.next()).value;
  expect(await next()).toBe("sim direct: 0 rx direct, 1 tx direct");
  await migrate(daemon, "prepare");
  expect(await next()).toBe("sim prepared: 0 rx relay, 1 tx relay");
  await migrate(daemon, "cancel", "--timeout", "0");
  expect(await next()).toBe("sim returning: 0 rx relay, 1 tx relay");
  guest.close();
  expect(await next()).toBe("sim no front-end");
  status.kill("SIGINT");
  expect(await status.exited).toBe(130);
  const { code, out } = await daemon.ask("migrate", "status", "--once");
  expect([code, out]).toEqual([0, "sim no front-end\n"]);
}, 60_000);

test("cancel that is interrupted has let the rings go, and says so", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon, { pairs: 1 });
  await passFrames(guest, { frames: 100 });
  await migrate(daemon, "prepare");
  const cancel = daemon.spawn("migrate", "cancel", "--timeout", "600");
  while ((await migrate(daemon, "status")).held);
  cancel.kill("SIGINT");
  // The second is for a client that has not read the daemon's answer yet.
  expect(await new Response(cancel.stderr).text()).toMatch(
    /^warning: (the rings of sim go back by themselves as they can|sim lets its rings go all the same)\n$/,
  );
  expect(await cancel.exited).toBe(130);
  expect((await migrate(daemon, "status")).phase).toBe("returning");
}, 60_000);

test("a daemon that may not relay refuses, with its reason and its exit code", async () => {
  const daemon = await start({ args: ["--datapath", "direct"] });
  const { code, out, err } = await daemon.ask("migrate", "prepare");
  expect([code, out]).toEqual([3, ""]);
  expect(err).toBe(
    "error: the rings of sim can not be relayed\n" +
      "  why: relaying rings, which this would take, is switched off (--datapath direct)\n" +
      "  try: serve it with --datapath auto\n",
  );
}, 60_000);
