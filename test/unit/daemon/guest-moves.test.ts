import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { GuestMoves } from "../../../src/daemon/guest-moves.ts";
import type { Later } from "../../../src/daemon/later.ts";
import type { Target } from "../../../src/daemon/messages.ts";
import { ServedDevice } from "../../../src/daemon/served-device.ts";
import { EventLoop } from "../../../src/hw/ffi/event-loop.ts";
import { closeFd, memfd } from "../../../src/hw/ffi/fd.ts";
import { createSimLink } from "../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import { Counters } from "../../../src/vdpa/counters.ts";
import { FrontEndServer } from "../../../src/vhost-user/listener.ts";
import { CollectedLog } from "../memory/collected-log.ts";

setDefaultTimeout(60_000);

const SIM = new URL("../../support/virtio-driver/sim-worker.ts", import.meta.url);
const GIB = 1n << 30n;

let loop: EventLoop;
let log: CollectedLog;
let served: ServedDevice;
let server: FrontEndServer;
let moves: GuestMoves;
let ended: Promise<unknown>[];
/** Times that those who look on were told to look again. */
let changes: number;
let fds: number[];

function sim(name: string, options: SimOptions = {}): Target {
  const link = createSimLink();
  const worker = new Worker(SIM, { workerData: { role: "sim", link, options } });
  ended.push(new Promise((resolve) => worker.once("exit", resolve)));
  return { kind: "sim", link, name };
}

function region(gpa: bigint, size: bigint) {
  const fd = memfd("guest-move", Number(size));
  fds.push(fd);
  return { description: { gpa, size, uva: 0x7f00_0000_0000n + gpa, mmapOffset: 0n }, fd };
}

/** What a move ended with, as far as it has. */
function outcomeOf(later: Later): { ended: boolean; result?: unknown; error?: Error } {
  const found: ReturnType<typeof outcomeOf> = { ended: false };
  later.whenSettled((outcome) => {
    found.ended = true;
    try {
      found.result = outcome();
    } catch (error) {
      found.error = error as Error;
    }
  });
  return found;
}

function finish(later: Later): ReturnType<typeof outcomeOf> {
  const outcome = outcomeOf(later);
  for (let turns = 0; !outcome.ended && turns < 1000; turns++) loop.runOnce(100);
  return outcome;
}

beforeEach(() => {
  [ended, fds] = [[], []];
  loop = new EventLoop();
  log = new CollectedLog();
  served = ServedDevice.open(sim("one"), {
    loop,
    log,
    counters: new Counters(),
    queuePairs: undefined,
    featuresMask: ~0n,
    doorbells: "auto",
    datapath: "auto",
    force: true,
    mappingTime: { ms: 0 },
    shouldStop: () => false,
  });
  changes = 0;
  server = new FrontEndServer({ loop, device: served.device, log, onChange: () => void changes++ });
  moves = new GuestMoves({ served, server, loop, log });
});

afterEach(async () => {
  moves.close();
  server.close();
  served.close();
  loop.close();
  for (const fd of fds) closeFd(fd);
  await Promise.all(ended);
});

test("without a front-end the other device takes the place, and the memory follows a table that comes", () => {
  const { result } = finish(moves.begin(sim("two")));
  expect(result).toEqual({ from: "one", to: "two", gap_us: 0, queues: [] });
  expect(served.name).toBe("two");
  expect(changes).toBe(1);
  served.memory.replaceAll([region(0n, GIB)]);
  expect(log.lines.filter((line) => /^(warn|error)/.test(line))).toEqual([]);
});

test("move after move nothing stays open", async () => {
  served.memory.replaceAll([region(0n, GIB)]);
  const others = async () => {
    await Promise.all(ended.slice(0, -1));
    return readdirSync("/proc/self/fd").length;
  };
  finish(moves.begin(sim("two")));
  const before = await others();
  for (let i = 0; i < 4; i++) {
    const name = `next ${i}`;
    expect(finish(moves.begin(sim(name))).result).toMatchObject({ to: name });
  }
  expect(served.name).toBe("next 3");
  expect(await others()).toBe(before);
});

test("the guest is served between the pieces, and a change of its memory ends the move", () => {
  served.memory.replaceAll([region(0n, GIB), region(4n * GIB, 2n * GIB)]);
  const later = moves.begin(sim("two"));
  const outcome = outcomeOf(later);
  loop.runOnce(1000);
  expect(outcome.ended).toBe(false);
  served.memory.add(region(16n * GIB, GIB));
  const { error } = finish(later);
  expect(error?.message).toMatch(/not moved: its memory changed or its front-end left/);
  expect(served.name).toBe("one");
  // And then it can be moved with the memory as it is now.
  expect(finish(moves.begin(sim("three"))).result).toMatchObject({ from: "one", to: "three" });
});

test("one at a time", () => {
  served.memory.replaceAll([region(0n, GIB), region(4n * GIB, GIB)]);
  const first = moves.begin(sim("two"));
  const third = sim("three");
  expect(() => moves.begin(third)).toThrow(/is being moved already: to two/);
  expect(finish(first).result).toMatchObject({ to: "two" });
  expect(finish(moves.begin(third)).result).toMatchObject({ to: "three" });
});

test("the end of the service ends a move", () => {
  served.memory.replaceAll([region(0n, GIB), region(4n * GIB, GIB)]);
  const outcome = outcomeOf(moves.begin(sim("two")));
  loop.runOnce(1000);
  moves.close();
  expect(outcome.error?.message).toMatch(/not moved: the service ends/);
  expect(served.name).toBe("one");
  moves = new GuestMoves({ served, server, loop, log });
});

test("a device that is not there, or is served already, changes nothing", () => {
  expect(() => moves.begin({ kind: "pci", bdf: "0000:ff:1f.7" })).toThrow(/0000:ff:1f\.7/);
  expect(() => moves.begin({ kind: "pci", bdf: "one" })).toThrow(/is on one already/);
  expect(served.name).toBe("one");
});

test("memory that the other device can not address is named, and nothing is touched", () => {
  served.memory.replaceAll([region(0n, GIB), region(64n * GIB, GIB)]);
  const narrow = sim("narrow", { usable: [{ first: 0n, last: 4n * GIB - 1n }] });
  expect(() => moves.begin(narrow)).toThrow(/GPA 0x1000000000.*the IOMMU has 32/);
  expect(served.name).toBe("one");
  expect(finish(moves.begin(sim("two"))).result).toMatchObject({ to: "two" });
});
