import { describe, expect, test } from "bun:test";
import { migrationRecord } from "../../../../src/commands/migrate/record.ts";
import { untilDirect } from "../../../../src/commands/migrate/return-path.ts";
import { phaseLine, statusLine } from "../../../../src/commands/migrate/status-line.ts";
import { deviceOf, queueOf } from "../states.ts";

const direct = queueOf();
const relayed = queueOf({ index: 1, type: "tx", mode: "relay" });
const control = queueOf({ index: 2, type: "control", mode: "own", counters: null });

test.each([
  ["no front-end", { state: "waiting", queues: [] }],
  ["stopped", { state: "connected", queues: [] }],
  ["direct", { queues: [direct, control] }],
  ["preparing", { held: true, queues: [direct, relayed, control] }],
  ["prepared", { held: true, queues: [relayed, control] }],
  ["logging", { held: true, logging: true, queues: [relayed] }],
  ["returning", { queues: [direct, relayed] }],
  ["relayed", { datapath: "relay", queues: [relayed, control] }],
] as const)("phase %s", (phase, over) => {
  expect(migrationRecord(deviceOf(over)).phase).toBe(phase);
});

test("what is counted is added up over the data queues", () => {
  const record = migrationRecord(
    deviceOf({
      queues: [
        queueOf({ gap_us: 900 }, { relay_completed: 5, pages_logged: 2, log_failures: 1, mode_switches: 3 }),
        queueOf({ index: 1 }, { relay_completed: 7, pages_logged: 1 }),
        control,
      ],
    }),
  );
  expect(record).toMatchObject({ relayed: 12, pages_logged: 3, log_failures: 1, all_direct: true });
  expect(record.queues.map(({ gap_us, mode_switches }) => [gap_us, mode_switches])).toEqual([
    [900, 3],
    [null, 0],
  ]);
});

test("lines of migrate status", () => {
  const before = migrationRecord(deviceOf({ queues: [relayed] }));
  const after = { ...before, relayed: 600, pages_logged: 30, log_failures: 2 };
  expect(phaseLine(before)).toBe("0000:00:04.0 returning: 1 tx relay");
  expect(statusLine(after, before, { seconds: 0.2, total: 61.4 })).toBe(
    "0000:00:04.0 returning: 1 tx relay; 30 pages logged (150/s), 2 log failures; 600 relayed (3000/s); 61 s",
  );
});

describe("until when a ring stays relayed", () => {
  const until = (over: Parameters<typeof deviceOf>[0], queue = relayed) => untilDirect(deviceOf(over), queue);
  const packed = (used: number, used_wrap: boolean) =>
    queueOf({
      mode: "relay",
      layout: "packed",
      positions: { avail: used, avail_wrap: used_wrap, used, used_wrap, lag: 0 },
    });

  test("for a reason that is not its position", () => {
    expect(until({ held: true })).toBe("until vdpactl migrate cancel");
    expect(until({ datapath: "relay" })).toBe("as the device is served with --datapath relay");
    expect(until({ logging: true })).toBe("while the front-end has it logged");
    const features = { device: ["MQ"], offered: [], negotiated: [] };
    expect(until({ features })).toContain("until the guest's driver resets the device");
  });

  test("until it is back at its beginning", () => {
    expect(until({})).toBe("for 65436 more entries, as long as packets flow");
    // Wrap counter 1 begins with every second lap.
    expect(until({}, packed(200, false))).toBe("for 56 more descriptors, as long as packets flow");
    expect(until({}, packed(200, true))).toBe("for 312 more descriptors, as long as packets flow");
    expect(until({}, queueOf({ mode: "relay", positions: null }))).toBe(
      "until its position is back at the beginning",
    );
  });
});
