import { afterEach, expect, test } from "bun:test";
import { relayBytes } from "../../../src/relay/device-memory.ts";
import { PackedRelay } from "../../../src/relay/packed-relay.ts";
import type { RingRelay } from "../../../src/relay/relay.ts";
import { SplitRelay } from "../../../src/relay/split-relay.ts";
import { Model } from "./model.ts";

const SIZE = 8;
let model: Model;
afterEach(() => model.close());

/** A ring with IN_ORDER and five chains of one writable buffer each in the device. */
function make(packed: boolean): RingRelay {
  model = new Model({
    packed,
    size: SIZE,
    start: 0,
    wrap: 1,
    eventIdx: false,
    indirect: false,
    sealable: true,
  });
  const ring = { ...model.ring, inOrder: true };
  const options = {
    ring,
    memory: model.stage.memory,
    buffer: model.stage.buffer(relayBytes(packed, SIZE)),
    offset: 0,
  };
  const relay = packed ? new PackedRelay(options) : new SplitRelay(options);
  relay.start({ availPosition: 0, availWrap: 1, usedPosition: 0, usedWrap: 1 });
  for (let i = 0; i < 5; i++) model.add(4);
  model.driver.publish();
  expect(relay.forward()).toBe(5);
  return relay;
}

/** Writes one used element for a batch of `count`, at the place of its first chain. */
function useBatch(
  relay: RingRelay,
  packed: boolean,
  at: number,
  id: number,
  length: number,
  count: number,
): void {
  const { desc, device } = relay.deviceQueue;
  const { port } = model.stage;
  if (packed) {
    port.writePair(Number(desc) + 16 * at + 8, length, (0x8082 * 65536 + id) >>> 0);
  } else {
    port.writePair(Number(device) + 4 + 8 * at, id, length);
    port.writeU16(Number(device) + 2, at + count);
  }
}

const idAt = (relay: RingRelay, packed: boolean, at: number) => {
  const { desc, driver } = relay.deviceQueue;
  return model.stage.port.readU16(packed ? Number(desc) + 16 * at + 12 : Number(driver) + 4 + 2 * at);
};

for (const packed of [false, true]) {
  const name = packed ? "packed" : "split";

  test(`${name}: one used element for a batch completes every chain of it`, () => {
    const relay = make(packed);
    const whole = (token: number) => `${token}:${model.offered.get(token)!.writable}`;
    useBatch(relay, packed, 0, idAt(relay, packed, 2), 1, 3);
    expect(relay.complete()).toBe(3);
    model.reap();
    expect(model.reaped).toEqual([whole(0), whole(1), "2:1"]);
    useBatch(relay, packed, 3, idAt(relay, packed, 4), 7, 2);
    expect(relay.complete()).toBe(2);
    model.reap();
    expect(model.reaped.slice(3)).toEqual([whole(3), "4:7"]);
    expect(relay.outstanding).toBe(0);
    expect(relay.fault).toBeUndefined();
  });
}

test("split: a batch that ends behind the used index is a fault of the device's", () => {
  const relay = make(false);
  useBatch(relay, false, 0, idAt(relay, false, 4), 1, 2);
  relay.complete();
  expect(relay.fault?.message).toContain("longer than what was used");
});
