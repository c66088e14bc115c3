import { expect, test } from "bun:test";
import { rated } from "../../../../src/commands/stats/rates.ts";
import { bytes, short, span, sparkline } from "../../../../src/commands/stats/units.ts";
import { watchLine } from "../../../../src/commands/stats/watch-line.ts";
import { deviceOf, queueOf } from "../states.ts";

test("rates are differences over the time between two looks", () => {
  const before = deviceOf({
    time: "2026-01-01T00:00:00.000Z",
    queues: [queueOf({ traffic: { entries: 100, exact: true } }, { relay_completed: 10, pages_logged: 4 })],
  });
  const now = deviceOf({
    time: "2026-01-01T00:00:02.000Z",
    queues: [queueOf({ traffic: { entries: 300, exact: false } }, { relay_completed: 50, pages_logged: 4 })],
  });
  expect(rated(now, before).queues[0]!.per_second).toEqual({
    entries: 100,
    entries_exact: false,
    relayed: 20,
    kicks: 0,
    calls: 0,
    pages_logged: 0,
  });
  expect(watchLine(rated(now, before))).toBe(
    "2026-01-01T00:00:02.000Z 0000:00:04.0 running rx 100/s tx - relayed 20/s logged 0/s log failures 0",
  );
});

test("without an earlier look there are none, nor for a ring that could not be sampled", () => {
  const now = deviceOf({ queues: [queueOf({ traffic: null })] });
  expect(rated(now, undefined).queues[0]!.per_second).toBeNull();
  const later = deviceOf({ time: "2026-01-01T00:00:01.000Z", queues: [queueOf({ traffic: null })] });
  expect(rated(later, now).queues[0]!.per_second).toMatchObject({ entries: null, relayed: 0 });
});

test("what begins anew, begins at 0", () => {
  const before = deviceOf({ queues: [queueOf({ traffic: { entries: 5000, exact: true } })] });
  const now = deviceOf({
    time: "2026-01-01T00:00:01.000Z",
    queues: [queueOf({ traffic: { entries: 30, exact: true } })],
  });
  expect(rated(now, before).queues[0]!.per_second!.entries).toBe(30);
});

test("numbers for people", () => {
  expect([0, 9999, 12_345, 4_100_000].map(short)).toEqual(["0", "9999", "12.3 k", "4.1 M"]);
  expect([96 * 2 ** 20, 2 ** 32].map(bytes)).toEqual(["96.0 MiB", "4.0 GiB"]);
  expect([42.4, 180, 18_720, 1_036_800].map(span)).toEqual(["42 s", "3 min", "5.2 h", "12 days"]);
  expect(sparkline([0, 1, 4, 8])).toBe(" ▂▅█");
  expect(sparkline([])).toBe("");
});
