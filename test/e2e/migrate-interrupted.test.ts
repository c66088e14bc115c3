import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { MigrationRecord } from "../../src/commands/migrate/record.ts";
import { ControlProxy } from "../support/daemon/control-proxy.ts";
import type { GuestOptions } from "../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import type { Daemon } from "./support/daemon.ts";
import { FaultyDevice } from "./support/faulty-device.ts";
import { forEachTest } from "./support/for-each-test.ts";
import { FrozenThreads } from "./support/frozen-threads.ts";
import type { Ran } from "./support/run-to-end.ts";
import { passFrames } from "./support/well-behaved.ts";

const { start, guestOf, atEnd } = forEachTest();

/** No machine has it. */
const NOWHERE = "0000:ff:1f.7";
const GOES_ON = "warning: sim goes on to relay its rings and stays so: vdpactl migrate cancel undoes it\n";

const migrate = (daemon: Daemon, ...args: string[]) => daemon.askJson<MigrationRecord>("migrate", ...args);
const modes = ({ queues }: MigrationRecord) => new Set(queues.map(({ mode }) => mode));

/** Ctrl-C for `vdpactl migrate VERB` once it has asked for the operation, of which it has no answer yet. */
async function interrupted(
  daemon: Daemon,
  op: string,
  ...verb: string[]
): Promise<Ran & { asked: string[] }> {
  const proxy = await ControlProxy.listen(join(daemon.runtimeDirectory, `${daemon.pid}.sock`));
  atEnd(() => proxy.close());
  const asked = proxy.keepBack(op);
  const client = daemon.spawn("migrate", ...verb, "--runtime-dir", proxy.directory);
  await Promise.race([asked, client.exited]);
  client.kill("SIGINT");
  const [out, err] = await Promise.all(
    [client.stdout, client.stderr].map((stream) => new Response(stream).text()),
  );
  return { code: await client.exited, out: out!, err: err!, asked: proxy.asked };
}

/** The serving thread stands still, as if it were busy, until this is released. */
function busy(daemon: Daemon): FrozenThreads {
  const frozen = FrozenThreads.freeze(daemon.pid);
  atEnd(() => frozen.release());
  return frozen;
}

/** The first look at which a device has another phase. No look shows rings of both modes. */
async function nextPhase(daemon: Daemon, before: string): Promise<MigrationRecord> {
  for (;;) {
    const status = await migrate(daemon, "status");
    expect(modes(status).size).toBe(1);
    if (status.phase !== before) return status;
  }
}

for (const packed of [false, true]) {
  const layout: GuestOptions = packed ? { packed, layouts: ["single", "indirect"], indirect: true } : {};
  describe(packed ? "packed" : "split", () => {
    test("prepare that is interrupted relays all rings under traffic, and says so", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { ...layout, pairs: 1 });
      let done = false;
      const traffic = exchange(guest, { until: () => done });
      const thread = busy(daemon);
      expect(await interrupted(daemon, "hold", "prepare")).toMatchObject({
        code: 130,
        out: "",
        err: GOES_ON,
      });
      // Looking asks nothing of the thread.
      expect(await migrate(daemon, "status")).toMatchObject({ phase: "direct", held: false });
      thread.release();
      const { phase, relayed } = await nextPhase(daemon, "direct");
      expect(phase).toBe("prepared");
      while ((await migrate(daemon, "status")).relayed < relayed + 2000);
      expect(await migrate(daemon, "prepare")).toMatchObject({ phase: "prepared", held: true });
      const cancelled = await migrate(daemon, "cancel", "--timeout", "60");
      expect(cancelled).toMatchObject({ phase: "direct", held: false });
      expect(cancelled.queues.map(({ mode_switches }) => mode_switches)).toEqual([2, 2]);
      done = true;
      expect(trafficProblem(await traffic)).toBeUndefined();
    }, 120_000);

    test("a move that is interrupted and then fails leaves the guest where it was, and the log says why", async () => {
      const daemon = await start();
      const guest = await guestOf(daemon, { ...layout, pairs: 1 });
      let done = false;
      const traffic = exchange(guest, { until: () => done });
      const mark = daemon.log.length;
      const thread = busy(daemon);
      const { code, out, err } = await interrupted(daemon, "move", "to", NOWHERE);
      expect({ code, out, err }).toEqual({
        code: 130,
        out: "",
        err: "warning: the daemon goes on with the move: vdpactl stats shows where the guest is\n",
      });
      expect(await migrate(daemon, "status")).toMatchObject({ device: "sim", phase: "direct" });
      thread.release();
      expect(await daemon.logged(/not moved to 0000:ff:1f\.7: /, mark)).toMatch(/^warning: /);
      expect(await migrate(daemon, "status")).toMatchObject({ device: "sim", phase: "direct" });
      const again = await daemon.ask("migrate", "to", NOWHERE);
      expect([again.code, again.out]).toEqual([3, ""]);
      expect(modes(await migrate(daemon, "prepare"))).toEqual(new Set(["relay"]));
      done = true;
      expect(trafficProblem(await traffic)).toBeUndefined();
    }, 120_000);
  });
}

test("cancel that is interrupted lets all rings go, and says so", async () => {
  const daemon = await start();
  const guest = await guestOf(daemon);
  await passFrames(guest);
  await migrate(daemon, "prepare");
  const thread = busy(daemon);
  expect(await interrupted(daemon, "hold", "cancel")).toMatchObject({
    code: 130,
    out: "",
    err: "warning: sim lets its rings go all the same\n",
  });
  expect(await migrate(daemon, "status")).toMatchObject({ phase: "prepared", held: true });
  thread.release();
  expect((await nextPhase(daemon, "prepared")).phase).toBe("returning");
  await passFrames(guest, { frames: 300, from: 300 });
}, 60_000);

test("prepare that is interrupted and then refused changes nothing, and the log says why", async () => {
  const daemon = await start({ args: ["--datapath", "direct"] });
  const guest = await guestOf(daemon);
  const thread = busy(daemon);
  expect(await interrupted(daemon, "hold", "prepare")).toMatchObject({ code: 130, out: "", err: GOES_ON });
  thread.release();
  await daemon.logged(/^warning: migrate prepare was not carried out: .*--datapath direct/);
  expect(await migrate(daemon, "status")).toMatchObject({ phase: "direct", held: false });
  await passFrames(guest);
}, 60_000);

test("prepare that is interrupted, of a device that does not give its queues up: no ring is left half way", async () => {
  await using faulty = await FaultyDevice.start("queue-reset");
  const { daemon } = faulty;
  const guest = await faulty.guest();
  await passFrames(guest);
  await faulty.misbehave();
  expect(await interrupted(daemon, "hold", "prepare")).toMatchObject({ code: 130, err: GOES_ON });
  // Not being able to give up one queue, the device is stopped as a whole.
  await faulty.complains(
    /^warning: migrate prepare was not carried out: .* the reset of queue 0 .* did not complete/,
  );
  expect(await migrate(daemon, "status")).toMatchObject({ phase: "stopped", held: false, queues: [] });
  await faulty.behave();
  guest.close();
  await faulty.recovers();
}, 120_000);

for (const verb of [["prepare"], ["cancel"], ["to", NOWHERE], ["status"]]) {
  test(`${verb[0]} that is interrupted while it looks for its device has asked for nothing, and ends at once`, async () => {
    const daemon = await start();
    const guest = await guestOf(daemon);
    const { asked, ...ran } = await interrupted(daemon, "state", ...verb);
    expect(ran).toEqual({ code: 130, out: "", err: "" });
    expect(asked).toEqual(["state"]);
    expect(await migrate(daemon, "status")).toMatchObject({ phase: "direct", held: false });
    await passFrames(guest);
  }, 60_000);
}
