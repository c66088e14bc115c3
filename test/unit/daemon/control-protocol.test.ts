import { describe, expect, test } from "bun:test";
import { parseAnswer, parseRequest } from "../../../src/daemon/control/protocol.ts";
import { OperatorError } from "../../../src/hw/operator-error.ts";

const problem = (act: () => unknown): OperatorError => {
  try {
    act();
  } catch (error) {
    if (error instanceof OperatorError) return error;
    throw error;
  }
  throw new Error("no error");
};

test("requests", () => {
  expect(parseRequest('{"v":1,"op":"state"}')).toEqual({ v: 1, op: "state" });
  expect(parseRequest('{"v":1,"op":"hold","device":"sim","relay":true}')).toEqual({
    v: 1,
    op: "hold",
    device: "sim",
    relay: true,
  });
  expect(parseRequest('{"v":1,"op":"move","to":"0000:00:05.0"}')).toMatchObject({ to: "0000:00:05.0" });
});

test.each([
  "",
  "null",
  '"state"',
  "{}",
  '{"v":1}',
  '{"v":"1","op":"state"}',
  '{"v":1,"op":"move","to":"00:05.0"}',
])("%p is no request", (line) => {
  expect(problem(() => parseRequest(line)).kind).toBe("usage");
});

describe("answers", () => {
  test("carry the result", () => {
    expect(parseAnswer('{"v":1,"ok":true,"result":{"devices":[]}}')).toEqual({ devices: [] });
  });

  test("or the daemon's error, as it was there", () => {
    const error = { what: "no", why: "so", remedy: "do that", kind: "not-ready" };
    const { what, why, remedy, kind } = problem(() =>
      parseAnswer(JSON.stringify({ v: 1, ok: false, error })),
    );
    expect({ what, why, remedy, kind }).toEqual({
      what: "no",
      why: "so",
      remedy: "do that",
      kind: "not-ready",
    });
    const bare = problem(() => parseAnswer('{"v":1,"ok":false,"error":{"what":"no","kind":"failed"}}'));
    expect([bare.what, bare.why]).toEqual(["no", undefined]);
  });

  test.each(["", "nothing", '{"v":2,"ok":true,"result":1}', '{"v":1,"ok":false,"error":{"what":1}}'])(
    "%p is none",
    (line) => {
      expect(problem(() => parseAnswer(line)).what).toBe("the daemon's answer was not understood");
    },
  );
});
