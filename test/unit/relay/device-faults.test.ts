import { afterEach, expect, test } from "bun:test";
import { Model } from "./model.ts";

const SIZE = 8;
let model: Model;
afterEach(() => model.close());

/** Three chains in the device: one writable buffer each. */
function make(packed: boolean): Model {
  model = new Model({
    packed,
    size: SIZE,
    start: 0,
    wrap: 1,
    eventIdx: false,
    indirect: false,
    sealable: true,
  });
  for (let i = 0; i < 3; i++) model.add(4);
  model.driver.publish();
  expect(model.relay.forward()).toBe(3);
  model.take(3);
  return model;
}

function reason(completed: number): string {
  expect(model.relay.complete()).toBe(completed);
  expect(model.reap()).toBe(completed);
  expect(model.relay.fault?.side).toBe("device");
  expect(model.relay.counts.deviceFaults).toBe(1);
  expect(model.relay.complete()).toBe(0);
  return model.relay.fault!.message;
}

for (const packed of [false, true]) {
  const name = packed ? "packed" : "split";

  test(`54 ${name}: an id that the ring does not have, or that was never offered`, () => {
    for (const id of [SIZE, packed ? 0xffff : 0xffff_ffff, 7]) {
      make(packed);
      model.device.complete(id, 1, 1);
      model.device.publish();
      expect(reason(0)).toMatch(/was used, which the device does not hold/);
      model.close();
    }
    make(packed);
  });

  test(`54 ${name}: an id twice, after a good one, which still reaches the guest`, () => {
    make(packed);
    const { chain } = model.held[1]!;
    for (let i = 0; i < 2; i++) model.device.complete(chain.id, 1, 1);
    model.device.publish();
    expect(reason(1)).toContain(`chain ${chain.id} was used`);
    expect(model.relay.closeHoles().usedPosition).toBe(1);
  });

  test(`54 ${name}: a length beyond the chain is cut and counted`, () => {
    make(packed);
    const { chain, token } = model.held[0]!;
    model.device.complete(chain.id, 1, 1_000_000);
    model.device.publish();
    expect(model.relay.complete()).toBe(1);
    expect(model.relay.counts.overlongUsed).toBe(1);
    expect(model.relay.fault).toBeUndefined();
    model.reap();
    expect(model.reaped).toEqual([`${token}:${model.offered.get(token)!.writable}`]);
  });

  test(`54 ${name}: completions while nothing is offered`, () => {
    make(packed);
    while (model.held.length > 0) model.finish(0, 1);
    model.publish();
    model.relay.complete();
    model.reap();
    model.device.complete(0, 1, 1);
    model.device.publish();
    expect(reason(0)).toMatch(/does not hold|with 0 chains in use/);
  });
}

test("54 split: the used index jumps, or goes backward", () => {
  for (const jump of [4, 9, 65_535]) {
    make(false);
    const { device } = model.relay.deviceQueue;
    model.stage.port.writeU16(Number(device) + 2, jump);
    expect(reason(0)).toBe(`the used index went from 0 to ${jump} with 3 chains in use`);
    model.close();
  }
  make(false);
});
