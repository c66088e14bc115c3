import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { awaitPosition } from "../../../src/vdpa/await-position.ts";
import type { Ring } from "../../../src/vdpa/ring.ts";
import { PackedRingModel } from "./packed-ring-model.ts";

setDefaultTimeout(60_000);

const cleanup: (() => unknown)[] = [];
afterEach(() => {
  for (const step of cleanup.splice(0).reverse()) step();
});

/** A ring to which `onKick` happens when it is kicked; what it heard. */
function ringOf(model: PackedRingModel, onKick: () => void) {
  cleanup.push(() => model.close());
  const heard: string[] = [];
  const ring = {
    index: model.vring.index,
    config: model.vring,
    cut: () => heard.push("cut"),
    kick: onKick,
    connect: () => heard.push("connect"),
    position: () => "what the ring shows",
  } as unknown as Ring;
  return { heard, ring };
}

/** Waits for a ring to which `onKick` happens when it is kicked. */
function waitFor(model: PackedRingModel, onKick: () => void) {
  const { heard, ring } = ringOf(model, onKick);
  return { heard, run: () => awaitPosition([ring], model.memory, model.traits)(ring) as unknown };
}

/** A receive ring with 30 of 32 buffers available, 5 of them used. */
function receiveRing(): PackedRingModel {
  const model = new PackedRingModel(0);
  for (let i = 0; i < 30; i++) model.offer(i);
  model.use(5);
  return model;
}

test("a receive ring without traffic passes for one used in order: a refusal would end the guest", () => {
  const { heard, run } = waitFor(receiveRing(), () => {});
  expect(run()).toBe("what the ring shows");
  expect(heard).toEqual(["cut"]);
});

test("a receive ring on which traffic shows the order passes at once when it has shown", () => {
  const model = receiveRing();
  const { heard, run } = waitFor(model, () => model.held.length > 8 && model.use(17));
  expect(run()).toBe(model.base);
  expect(heard).toEqual(["cut"]);
});

/** Memory of a ring on which something happens whenever it is read. */
function neverStill(model: PackedRingModel) {
  let id = 30;
  return Object.assign(Object.create(model.memory), {
    read(gpa: bigint, length: number): Uint8Array {
      model.use();
      model.offer(id++ % 32);
      return model.memory.read(gpa, length);
    },
  }) as typeof model.memory;
}

test("a receive ring that is filled faster than it can be read passes like one without traffic", () => {
  const model = receiveRing();
  const { heard, ring } = ringOf(model, () => {});
  const baseOf = awaitPosition([ring], neverStill(model), model.traits);
  expect(heard).toEqual(["cut"]);
  expect(baseOf(ring) as unknown).toBe("what the ring shows");
});

test("a transmit ring that moves so fast is refused: nobody but us rings its device", () => {
  const model = new PackedRingModel(1);
  for (let i = 0; i < 30; i++) model.offer(i);
  const { heard, ring } = ringOf(model, () => {});
  expect(() => awaitPosition([ring], neverStill(model), model.traits)).toThrow(/faster than it can be read/);
  expect(heard).toEqual(["cut", "connect"]);
});

test("a receive ring that is seen to be used out of order is refused, and goes on", () => {
  const model = receiveRing();
  const { heard, run } = waitFor(model, () => {
    if (model.held.length > 20) for (let i = 5; i < 14; i++) model.use(1, 18 - i);
  });
  expect(run).toThrow("queue 0 can not be relayed from where it is: the device was seen to complete its");
  expect(heard).toEqual(["cut", "connect"]);
});

/** The driver takes the id that it got back last, as Linux does, so that neighbours in the ring have the same. */
function busyTransmitRing(): PackedRingModel {
  const model = new PackedRingModel(1);
  for (let i = 0; i < 3; i++) {
    model.offer(0);
    model.use();
  }
  model.offer(0);
  return model;
}

test("a transmit ring whose guest goes on sending shows its position between two kicks", () => {
  const model = busyTransmitRing();
  const { heard, run } = waitFor(model, () => {
    model.use(model.held.length);
    model.offer(0);
    model.offer(1);
  });
  expect(run()).toBe(model.base);
  expect(heard).toEqual(["cut"]);
});

test("a transmit ring that the device leaves as it is is refused, and goes on", () => {
  const { heard, run } = waitFor(busyTransmitRing(), () => {});
  expect(run).toThrow(/queue 1 can not be relayed from where it is/);
  expect(heard).toEqual(["cut", "connect"]);
});

test("a ring that is certain is rung while another is waited for: what the guest sends brings that one's traffic", () => {
  const receive = receiveRing();
  const transmit = new PackedRingModel(1, {}, receive.memory);
  const rings = [
    ringOf(receive, () => {}).ring,
    ringOf(transmit, () => receive.held.length > 0 && receive.use()).ring,
  ];
  const baseOf = awaitPosition(rings, receive.memory, receive.traits);
  expect(baseOf(rings[0]!)).toBe(receive.base);
  expect(baseOf(rings[1]!)).toBe(transmit.base);
});
