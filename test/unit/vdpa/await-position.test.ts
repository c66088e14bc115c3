import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { awaitPosition } from "../../../src/vdpa/await-position.ts";
import type { Ring } from "../../../src/vdpa/ring.ts";
import { packedReceiveRing } from "./packed-receive-ring.ts";

setDefaultTimeout(60_000);

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

/** Waits for a receive ring with 20 of 32 buffers available, 5 of them used; what it heard meanwhile. */
function wait(onCut: (use: (at: number, id: number) => void) => void) {
  const { use, memory, vring, traits, close } = packedReceiveRing(20);
  cleanup.push(close);
  for (let i = 0; i < 5; i++) use(i, i);
  const heard: string[] = [];
  const ring = {
    index: 0,
    config: vring,
    cut: () => {
      heard.push("cut");
      onCut(use);
    },
    connect: () => heard.push("connect"),
  } as unknown as Ring;
  return { heard, run: () => awaitPosition([ring], memory, traits) };
}

test("a receive ring without traffic passes for one used in order: a refusal would end the guest", () => {
  const { heard, run } = wait(() => {});
  run();
  expect(heard).toEqual(["cut"]);
});

test("a receive ring on which traffic shows the order passes at once when it has shown", () => {
  const { heard, run } = wait((use) => {
    for (let i = 5; i < 14; i++) use(i, i);
  });
  run();
  expect(heard).toEqual(["cut"]);
});

test("a receive ring that is seen to be used out of order is refused, and goes on", () => {
  const { heard, run } = wait((use) => {
    for (let i = 5; i < 14; i++) use(i, 18 - i);
  });
  expect(run).toThrow(/queue 0 can not be relayed from where it is/);
  expect(heard).toEqual(["cut", "connect"]);
});
