import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { LOG_EVENTS } from "../../../src/hw/log-events.ts";
import { sourceTexts } from "./support/source-texts.ts";

const page = readFileSync(new URL("../../../docs/logs.md", import.meta.url), "utf8");

test("the page has all events with what they mean, and no other", () => {
  const [, table] = page.split(/^\| `event` \| what happened.*\n/m);
  const rows = [...table!.split("\n\n")[0]!.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, name, text]) => [
    name,
    text,
  ]);
  expect(rows).toEqual(Object.entries(LOG_EVENTS));
});

test("each event happens somewhere", () => {
  const sources = sourceTexts().filter((source) => !source.includes("export const LOG_EVENTS"));
  const silent = Object.keys(LOG_EVENTS).filter(
    (name) => !sources.some((source) => source.includes(`"${name}"`)),
  );
  expect(silent).toEqual([]);
});

test("the page's line of JSON is one", () => {
  const [, line] = /^ {4}(\{"time"[\s\S]*?\})$/m.exec(page)!;
  expect(JSON.parse(line!)).toMatchObject({ level: "warn", event: "message_refused" });
});
