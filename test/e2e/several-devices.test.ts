import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DeviceState } from "../../src/daemon/state/device-state.ts";
import { closeFd } from "../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../src/hw/ffi/unix-socket.ts";
import { Channel, PeerClosed } from "../support/front-end/channel.ts";
import { connectGuest, type Guest, type GuestOptions } from "../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import { eventually } from "../support/front-end/wait.ts";
import { Daemon, ONCE_MS, run } from "./support/daemon.ts";
import { passFrames, wellBehaved } from "./support/well-behaved.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** One daemon whose devices are simulated, each with a socket of its own in `directory`. */
class Fleet {
  readonly directory = mkdtempSync(join(tmpdir(), "vdpactl-several-"));
  readonly config = join(this.directory, "devices.toml");
  daemon!: Daemon;

  constructor(
    readonly names: readonly string[],
    tables: readonly string[],
    head = "",
  ) {
    const device = (name: string, i: number) =>
      `[[device]]\nsim = true\nsocket = "${this.path(name)}"\n${tables[i] ?? ""}\n`;
    writeFileSync(this.config, `${head}\n${names.map(device).join("")}`);
    cleanup.push(() => rmSync(this.directory, { recursive: true, force: true }));
  }

  static async start(...args: ConstructorParameters<typeof Fleet>): Promise<Fleet> {
    const fleet = new Fleet(...args);
    fleet.daemon = await Daemon.start({
      device: ["--config", fleet.config],
      meeting: [],
      ready: /^READY devices=/,
    });
    cleanup.push(() => fleet.daemon.dispose());
    return fleet;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  async guest(name: string, options: GuestOptions = {}): Promise<Guest> {
    const guest = await connectGuest({ socketPath: this.path(name), pairs: 2, ...options });
    cleanup.push(() => guest.close());
    return guest;
  }

  /** Keeps frames flowing on some guests while `body` works; each must come back once and unchanged. */
  async during(guests: readonly Guest[], body: () => Promise<void>): Promise<void> {
    let done = false;
    const traffic = guests.map((guest) => exchange(guest, { until: () => done }));
    try {
      await body();
    } finally {
      done = true;
    }
    const results = await Promise.all(traffic);
    expect(results.map(trafficProblem)).toEqual(guests.map(() => undefined));
    expect(results.every((pairs) => pairs.every(({ sent }) => sent > 0))).toBe(true);
  }

  async state(): Promise<readonly DeviceState[]> {
    return await this.daemon.askJson<DeviceState[]>("stats");
  }

  async stops(): Promise<void> {
    expect(await this.daemon.stop()).toBe(0);
    expect(this.names.filter((name) => existsSync(this.path(name)))).toEqual([]);
  }
}

/** Waits until the devices are in these states. */
async function reaches(fleet: Fleet, states: readonly string[]): Promise<void> {
  const deadline = performance.now() + ONCE_MS;
  for (let now: string[] = []; String(now) !== String(states); ) {
    if (performance.now() > deadline) throw new Error(`the devices are ${now} and not ${states}`);
    now = (await fleet.state()).map(({ state }) => state);
  }
}

test("each device is served as its table says, with lines of its own", async () => {
  const fleet = await Fleet.start(["a", "b", "c"], ["", 'datapath = "relay"', "queues = 1"], "queues = 4");
  const { daemon } = fleet;
  expect(daemon.out.slice(0, 3).sort()).toEqual(
    ["a", "b", "c"].map((name, i) => `READY socket=${fleet.path(name)} device=sim${i}`),
  );
  expect(daemon.out.slice(3)).toEqual(["READY devices=3 failed=0"]);
  const guests = [
    await fleet.guest("a", { pairs: 4 }),
    await fleet.guest("b", { packed: true }),
    await fleet.guest("c", { pairs: 1 }),
  ];
  await fleet.during(guests, async () => {
    const states = await fleet.state();
    expect(states.map(({ device, state, failure }) => [device, state, failure])).toEqual(
      [0, 1, 2].map((i) => [`sim${i}`, "running", null]),
    );
    expect(states.map(({ pid }) => pid)).toEqual([daemon.pid, daemon.pid, daemon.pid]);
    const modes = states.map(({ queues }) => new Set(queues.map(({ mode }) => mode)).has("relay"));
    expect(modes).toEqual([false, true, false]);
    expect(states.map(({ counters }) => counters.connections)).toEqual([1, 1, 1]);
    const { out } = await daemon.ask("stats", "--prometheus");
    for (const [i, name] of fleet.names.entries()) {
      const labels = `device="sim${i}",socket="${fleet.path(name)}"`;
      expect(out).toContain(`vdpactl_device_running{${labels}} 1\n`);
      expect(out).toContain(`vdpactl_device_failed{${labels}} 0\n`);
    }
  });
  for (const i of [0, 1, 2]) await daemon.logged(new RegExp(`^sim${i}: front-end connected$`));
  await fleet.stops();
}, 120_000);

test("a device that is given back to the kernel fails alone, and comes back when it can be had again", async () => {
  const later = 'sim-fault = "release"\nsim-fault-later = true';
  const fleet = await Fleet.start(
    ["a", "b", "c", "d"],
    ["", later, 'datapath = "relay"', "relay-threads = 1"],
  );
  const { daemon } = fleet;
  await wellBehaved({ socketPath: fleet.path("b") });
  await daemon.logged(/sim1: front-end disconnected/);
  const others = [
    await fleet.guest("a"),
    await fleet.guest("c", { packed: true }),
    await fleet.guest("d", { pairs: 1 }),
  ];
  const rest = await daemon.settledHoldings();
  await fleet.during(others, async () => {
    const victim = await fleet.guest("b");
    await passFrames(victim);
    daemon.child.kill("SIGUSR2");
    await daemon.logged(/^error: sim1: sim1 was asked back by the kernel .*; next attempt in 1 s$/);
    await daemon.logged(/^sim1: served, socket=.*\/b$/);
    victim.close();
    await wellBehaved({ socketPath: fleet.path("b") });
  });
  const states = await fleet.state();
  expect(states.map(({ state }) => state)).toEqual(["running", "waiting", "running", "running"]);
  // What is counted goes on: the guests of both lives.
  expect(states[1]!.counters.connections).toBe(3);
  expect(states.map(({ reconnects }) => reconnects)).toEqual([0, 2, 0, 0]);
  await daemon.backTo(rest);
  await fleet.stops();
}, 120_000);

test("a front-end that breaks the protocol, again and again, is no matter of the others'", async () => {
  const fleet = await Fleet.start(["a", "b", "c"], ["", "", 'datapath = "relay"']);
  const { daemon } = fleet;
  const others = [await fleet.guest("a"), await fleet.guest("c")];
  const rest = await daemon.settledHoldings();
  await fleet.during(others, async () => {
    const mark = daemon.log.length;
    for (let i = 0; i < 100; i++) {
      const hostile = await Channel.connect(fleet.path("b"));
      await hostile.send(Buffer.alloc(12, i + 0x41));
      // It ends the connection.
      await expect(hostile.receive(ONCE_MS)).rejects.toThrow(PeerClosed);
      hostile.close();
    }
    const complaints = daemon.complaints(mark);
    expect(complaints.length).toBeGreaterThan(0);
    expect(complaints.filter((line) => !line.startsWith("warning: sim1: "))).toEqual([]);
  });
  await wellBehaved({ socketPath: fleet.path("b") });
  await daemon.backTo(rest);
  await fleet.stops();
}, 120_000);

test("a device that can not be had at the start is tried again beside the others", async () => {
  const fleet = await Fleet.start(["a", "missing/b"], [], "verbose = true");
  const { daemon } = fleet;
  expect(daemon.out).toEqual([`READY socket=${fleet.path("a")} device=sim0`, "READY devices=1 failed=1"]);
  await daemon.logged(/^error: sim1: socket path .*missing\/b: the directory .*; next attempt in 1 s$/);
  const guest = await fleet.guest("a");
  await fleet.during([guest], async () => {
    const [, failed] = await fleet.state();
    expect(failed).toMatchObject({ device: "sim1", state: "failed", queues: [] });
    expect(failed!.failure).toContain("does not exist");
    const { code, err } = await daemon.ask("migrate", "prepare", "--socket", fleet.path("missing/b"));
    // In the middle of an attempt it is that attempt's failure.
    expect([code, err]).toEqual([
      3,
      expect.stringMatching(/^error: sim1 is not being served|does not exist/),
    ]);
    expect((await daemon.ask("stats")).out).toMatch(
      /^sim1 {2}net {2}failed {2}.*\n {2}failure {3}.*does not exist/m,
    );
    // Ever more seldom, and without a word unless somebody wants to hear more.
    for (const seconds of [2, 4]) {
      await daemon.logged(new RegExp(`^debug: sim1: socket path .*; next attempt in ${seconds} s$`));
    }
    mkdirSync(fleet.path("missing"));
    await daemon.logged(/^sim1: served, socket=/);
    await wellBehaved({ socketPath: fleet.path("missing/b") });
  });
  expect((await fleet.state()).map(({ state, failure }) => [state, failure])).toEqual([
    ["running", null],
    ["waiting", null],
  ]);
  // A failure that stays was said once.
  expect(daemon.complaints().filter((line) => line.includes("sim1"))).toHaveLength(1);
  await fleet.stops();
}, 120_000);

test("one of them is chosen by its socket", async () => {
  const fleet = await Fleet.start(["a", "b"], []);
  const { daemon } = fleet;
  expect((await daemon.ask("migrate", "prepare", "--socket", fleet.path("b"))).code).toBe(0);
  expect((await fleet.state()).map(({ held }) => held)).toEqual([false, true]);
  const { code, err } = await daemon.ask("migrate", "prepare");
  expect([code, err]).toEqual([2, expect.stringContaining("choose one with --socket PATH")]);
  const one = await daemon.askJson<DeviceState[]>("stats", "--socket", fleet.path("a"));
  expect(one.map(({ device }) => device)).toEqual(["sim0"]);
  await fleet.stops();
}, 120_000);

test("a device whose only front-end has gone is over and the others are not", async () => {
  const [ours, theirs] = unixSocketPair();
  const fleet = new Fleet(["a"], [], "[[device]]\nsim = true\nfd = 3\n");
  const serve = {
    device: ["--config", fleet.config],
    meeting: [],
    fd: theirs,
    ready: /^READY devices=2 failed=0$/,
  };
  fleet.daemon = await Daemon.start(serve);
  cleanup.push(() => fleet.daemon.dispose());
  closeFd(theirs);
  const given = await connectGuest({ channel: new Channel(ours) });
  cleanup.push(() => given.close());
  const guest = await fleet.guest("a");
  await fleet.during([guest], async () => {
    await passFrames(given);
    given.close();
    await fleet.daemon.logged(/^sim0: front-end disconnected$/);
    await reaches(fleet, ["ended", "running"]);
    const { code, err } = await fleet.daemon.ask("migrate", "prepare", "--socket", fleet.path("a"));
    expect([code, err]).toEqual([0, ""]);
  });
  await fleet.stops();
}, 120_000);

describe("none that can be served", () => {
  test("at the start", async () => {
    const fleet = new Fleet(["x/a", "x/b"], []);
    const { code, out, err } = await run([
      "serve",
      "--config",
      fleet.config,
      "--runtime-dir",
      fleet.path("run"),
    ]);
    expect([code, out]).toEqual([3, ""]);
    expect(err).toContain("error: none of 2 devices is served\n  why: sim0: socket path");
    for (const name of ["sim0", "sim1"]) expect(err).toMatch(new RegExp(`^error: ${name}: socket path`, "m"));
  }, 60_000);

  test("any more", async () => {
    const fault = 'sim-fault = "release"\nsim-fault-later = true';
    const fleet = await Fleet.start(["x/a", "b"], ["", fault]);
    await fleet.guest("b");
    fleet.daemon.child.kill("SIGUSR2");
    await eventually(() => !fleet.daemon.running, ONCE_MS, "the end");
    expect(fleet.daemon.log.join("\n")).toContain("error: none of 2 devices is served");
    expect(existsSync(fleet.path("b"))).toBe(false);
  }, 60_000);
});

test("files that contradict themselves are refused before anything is opened", async () => {
  const same = new Fleet(["a", "a"], []);
  const taken = await run(["serve", "--config", same.config]);
  expect(taken.code).toBe(2);
  expect(taken.err).toContain(`error: [[device]] 2 in ${same.config}: socket ${same.path("a")} is taken`);
  const fleet = new Fleet(["a", "b"], ["", "datapaht = 1"]);
  const misspelled = await run(["serve", "--config", fleet.config]);
  expect(misspelled.code).toBe(2);
  expect(misspelled.err).toContain('error: unknown key "datapaht" in [[device]] 2 in');
  expect(misspelled.err).toContain("did you mean datapath?");
  const twice = await run(["serve", "--config", same.config, "--sim"]);
  expect([twice.code, twice.err]).toEqual([2, expect.stringContaining("--sim does not go with tables")]);
}, 60_000);
