import { expect, test } from "bun:test";
import { Output } from "../../../../src/cli/output.ts";
import { renderDevice } from "../../../../src/commands/stats/render-device.ts";
import { renderRates } from "../../../../src/commands/stats/render-queues.ts";
import { deviceOf, queueOf } from "../states.ts";

const output = (terminal: boolean) => new Output({ format: "text", color: false, terminal }, () => {});

test("everything about a device, with headers on a terminal", () => {
  const state = deviceOf({
    last_switch: { queue: 1, to: "relay", gap_us: 830 },
    held: true,
    refused_messages_by_kind: { NET_SET_MTU: 2 },
    queues: [
      queueOf({}, { relay_completed: 7, pages_logged: 3 }),
      queueOf({ index: 1, type: "tx", enabled: false, mode: "relay", positions: null }),
      queueOf({ index: 2, type: "control", mode: "own", vector: null, positions: null, counters: null }),
    ],
  });
  expect(renderDevice(state, output(true)).split("\n")).toEqual([
    "0000:00:04.0  net  running  pid 4711  up 12 s",
    "  front-end /tmp/vh.sock (server), 1 connections, 0 reconnects, 0 turned away",
    "  link      up, mac 52:54:00:00:00:01, mtu up to 1500, 1 of 8 pairs active",
    "  features  MQ",
    "  protocol  MQ REPLY_ACK",
    "  status    DRIVER_OK",
    "  memory    2 regions, 96.0 MiB, mapped in 3.5 ms",
    "  start     4.5 ms to DRIVER_OK",
    "  device    1 starts, 1 resets, 0 config interrupts, 0 faults",
    "  messages  40, 0 refused (NET_SET_MTU 2)",
    "  relay     held (migrate prepare), last switch: queue 1 to relay in 830 µs",
    "QUEUE  TYPE     STATE     SIZE  MODE    DOORBELL   CALL    VECTOR  AVAIL  USED  LAG  RELAYED  KICKS  CALLS  LOGGED  LOG FAILURES  ANOMALIES",
    "0      rx       enabled   256   direct  ioeventfd  direct  1       300    100   200  7        0      0      3       0             0",
    "1      tx       disabled  256   relay   ioeventfd  direct  1       -      -     -    0        0      0      0       0             0",
    "2      control  enabled   256   own     ioeventfd  direct  -       -      -     -    -        -      -      -       -             -",
    "",
  ]);
});

test("a device without a front-end", () => {
  const state = deviceOf({
    state: "waiting",
    meeting: { role: "fd", path: null, fd: 3 },
    features: { device: [], offered: [], negotiated: [] },
    status: [],
    link: null,
    mac: null,
    mtu: null,
    pairs: null,
    start_ms: null,
    queues: [],
  });
  const text = renderDevice(state, output(false));
  expect(text).toContain("front-end fd 3 (fd), ");
  expect(text).toContain("link      not known\n  features  -\n");
  expect(text).toContain("start     -\n");
});

test("rates in a terminal of usual width, with bars", () => {
  const rate = { entries_exact: true, relayed: 0, kicks: 0, calls: 0, pages_logged: 0 };
  const queues = [
    { ...queueOf(), per_second: { ...rate, entries: 71_800 } },
    {
      ...queueOf({ index: 1, type: "tx", mode: "relay" }),
      per_second: { ...rate, entries: 5, entries_exact: false },
    },
    { ...queueOf({ index: 2, traffic: null }), per_second: { ...rate, entries: null } },
    { ...queueOf({ index: 16, type: "control" }), per_second: null },
  ];
  const history = new Map([[0, Array.from({ length: 20 }, (_, i) => i)]]);
  const text = renderRates(queues, history, output(true));
  expect(text.split("\n")).toEqual([
    "QUEUE  TYPE  STATE    MODE    LAG  ENTRIES/s  TREND                 RELAYED/s  KICKS  CALLS  LOGGED",
    "0      rx    enabled  direct  200  71.8 k      ▁▁▂▂▃▃▃▄▄▅▅▆▆▆▇▇███  0          0      0      0",
    "1      tx    enabled  relay   200  ≥5         -                     0          0      0      0",
    "2      rx    enabled  direct  200  -          -                     0          0      0      0",
    "",
  ]);
  for (const line of text.split("\n")) expect(Bun.stringWidth(line)).toBeLessThan(100);
});
