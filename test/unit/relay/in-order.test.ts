import { afterEach, expect, test } from "bun:test";
import fc from "fast-check";
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

/** Writes one used element for a batch of chains, at the place of its first one (VIRTIO_F_IN_ORDER). */
class BatchingDevice {
  #at = 0;
  #wrap = 1;

  constructor(
    readonly relay: RingRelay,
    readonly packed: boolean,
  ) {}

  /** @param used by how many the split ring's index moves */
  use(count: number, length: number, used = count): void {
    const { desc, device } = this.relay.deviceQueue;
    const { port } = model.stage;
    const at = this.#at % SIZE;
    const id = this.#idAt((this.#at + count - 1) % SIZE);
    this.#at += count;
    if (this.packed) {
      port.writePair(Number(desc) + 16 * at + 8, length, ((this.#wrap ? 0x8082 : 2) * 65536 + id) >>> 0);
      if (at + count >= SIZE) this.#wrap ^= 1;
    } else {
      port.writePair(Number(device) + 4 + 8 * at, id, length);
      port.writeU16(Number(device) + 2, (this.#at - count + used) & 0xffff);
    }
  }

  #idAt(at: number): number {
    const { desc, driver } = this.relay.deviceQueue;
    return model.stage.port.readU16(this.packed ? Number(desc) + 16 * at + 12 : Number(driver) + 4 + 2 * at);
  }
}

/** What the driver gets for a batch: the length of its last chain, and all of the others'. */
const expected = (first: number, count: number, length: number): string[] =>
  Array.from({ length: count }, (_, i) => {
    const token = first + i;
    return `${token}:${i < count - 1 ? model.offered.get(token)!.writable : length}`;
  });

/** What a driver adds at a time, and over how many of the chains it has the device then writes each used element. */
const rounds = fc.array(
  fc.tuple(fc.integer({ min: 1, max: SIZE }), fc.array(fc.integer({ min: 1, max: 4 }))),
  {
    minLength: 1,
    maxLength: 60,
    size: "max",
  },
);

for (const packed of [false, true]) {
  const name = packed ? "packed" : "split";

  test(`${name}: one used element for a batch completes every chain of it`, () => {
    const relay = make(packed);
    const device = new BatchingDevice(relay, packed);
    device.use(3, 1);
    expect(relay.complete()).toBe(3);
    model.reap();
    expect(model.reaped).toEqual(expected(0, 3, 1));
    device.use(2, 7);
    expect(relay.complete()).toBe(2);
    model.reap();
    expect(model.reaped.slice(3)).toEqual(expected(3, 2, 7));
    expect(relay.outstanding).toBe(0);
    expect(relay.fault).toBeUndefined();
  });

  test(`${name}: batches of any length complete every chain once and in order, over many laps`, () => {
    fc.assert(
      fc.property(rounds, (all) => {
        const relay = make(packed);
        const device = new BatchingDevice(relay, packed);
        const right: string[] = [];
        const use = (count: number) => {
          right.push(...expected(right.length, count, 1));
          device.use(count, 1);
        };
        const held = () => model.added - right.length;
        for (const [adds, batches] of all) {
          for (let i = 0; i < adds; i++) model.add(4);
          model.driver.publish();
          relay.forward();
          for (const batch of batches) if (held() > 0) use(Math.min(batch, held()));
          relay.complete();
          model.reap();
        }
        if (held() > 0) use(held());
        relay.complete();
        model.reap();
        expect(relay.fault).toBeUndefined();
        expect(model.reaped).toEqual(right);
        expect(relay.outstanding).toBe(0);
        model.close();
      }),
      { numRuns: 60 },
    );
  });
}

test("split: a batch that ends behind the used index is a fault of the device's", () => {
  const relay = make(false);
  new BatchingDevice(relay, false).use(5, 1, 2);
  relay.complete();
  expect(relay.fault?.message).toContain("longer than what was used");
});
