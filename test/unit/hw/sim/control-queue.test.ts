import { expect, test } from "bun:test";
import { F } from "../../../../src/hw/sim/virtio.ts";
import { RingMemory } from "../../../support/virtio-driver/driver-ring.ts";
import { NetPair, testFrame } from "../../../support/virtio-driver/net-pair.ts";
import { PackedDriver } from "../../../support/virtio-driver/packed-driver.ts";
import { SimHarness } from "../../../support/virtio-driver/sim-harness.ts";
import { SplitDriver } from "../../../support/virtio-driver/split-driver.ts";

const COMMAND = 0x8000;
const ACK = 0x9000;
const ALL = F.VERSION_1 | F.ACCESS_PLATFORM | F.NET_CTRL_VQ | F.NET_CTRL_RX | F.NET_CTRL_MAC_ADDR | F.NET_MQ;

for (const packed of [false, true]) {
  const layout = packed ? "packed" : "split";

  function rig(features = ALL, pairs = 4) {
    const harness = new SimHarness({ pairs });
    const memory = new RingMemory(harness.memory(0x10_0000n, 4 << 20));
    expect(harness.negotiate(features | (packed ? F.RING_PACKED : 0n))).toBe(true);
    const ring = new (packed ? PackedDriver : SplitDriver)(memory, 0, 16);
    const index = features & F.NET_MQ ? 2 * pairs : 2;
    expect(harness.enable(index, ring)).toBe(true);
    const command = (...bytes: number[]): number => {
      memory.u8.set(bytes, COMMAND);
      memory.u8[ACK] = 0xee;
      ring.add([
        { offset: COMMAND, length: 2, write: false },
        ...(bytes.length > 2 ? [{ offset: COMMAND + 2, length: bytes.length - 2, write: false }] : []),
        { offset: ACK, length: 1, write: true },
      ]);
      ring.publish();
      harness.kick(index);
      harness.settle();
      expect(ring.next()?.length).toBe(1);
      return memory.u8[ACK]!;
    };
    return { harness, memory, command, ring, index };
  }

  test(`${layout}: accepts what the specification defines and refuses nonsense`, () => {
    const { harness, command } = rig();
    harness.driverOk();
    expect(command(4, 0, 2, 0)).toBe(0);
    expect(command(4, 0, 4, 0)).toBe(0);
    expect(command(4, 0, 0, 0)).toBe(1);
    expect(command(4, 0, 5, 0)).toBe(1);
    expect(command(4, 0, 0, 1)).toBe(1);
    expect(command(4, 0, 2)).toBe(1);
    expect(command(4, 1, 2, 0)).toBe(1);
    expect(command(0, 0, 1)).toBe(0);
    expect(command(0, 1, 0)).toBe(0);
    expect(command(0, 0, 2)).toBe(1);
    expect(command(0, 2, 1)).toBe(1);
    expect(command(0, 0)).toBe(1);
    expect(command(1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 94, 0, 0, 1)).toBe(0);
    expect(command(1, 0, 9, 0, 0, 0, 1, 0, 0, 0)).toBe(1);
    expect(command(1, 1, 2, 0, 0, 0, 0, 7)).toBe(0);
    expect(command(1, 1, 2, 0, 0, 0, 0)).toBe(1);
    expect(command(2, 0, 1, 0)).toBe(1);
    expect(command(255, 255)).toBe(1);
    expect(harness.device.regRead(4, 0x2005, 1)).toBe(7);
    expect(harness.device.counters.read().control_commands).toBe(18);
    harness.set("device_status", 0);
    expect(harness.device.regRead(4, 0x2005, 1)).toBe(1);
    harness.close();
  });

  test(`${layout}: refuses commands whose feature was not negotiated`, () => {
    const { harness, command } = rig(F.VERSION_1 | F.ACCESS_PLATFORM | F.NET_CTRL_VQ);
    harness.driverOk();
    expect(command(4, 0, 1, 0)).toBe(1);
    expect(command(0, 0, 1)).toBe(1);
    expect(command(1, 1, 2, 0, 0, 0, 0, 7)).toBe(1);
    harness.close();
  });

  test(`${layout}: only enabled pairs move frames, and what waited moves once they are`, () => {
    const { harness, memory, command } = rig();
    const pairs = [0, 1].map((i) => new NetPair(memory, 0x1_0000 + i * NetPair.BYTES, { packed }));
    for (const [i, pair] of pairs.entries()) {
      harness.enable(2 * i, pair.rx);
      harness.enable(2 * i + 1, pair.tx);
    }
    harness.driverOk();
    for (const [i, pair] of pairs.entries()) {
      pair.offer();
      pair.rx.publish();
      pair.send(testFrame(i, 1));
      pair.tx.publish();
      harness.kick(2 * i + 1);
    }
    harness.settle();
    expect(pairs.map((pair) => pair.receive().length)).toEqual([1, 0]);
    expect(command(4, 0, 2, 0)).toBe(0);
    expect(pairs.map((pair) => pair.receive().map(({ frame }) => frame))).toEqual([[], [testFrame(1, 1)]]);
    harness.close();
  });

  test(`${layout}: a command that never completes stays away`, () => {
    const { harness, memory, ring, index } = rig();
    harness.driverOk();
    harness.device.inject({ controlNeverCompletes: true });
    memory.u8.set([4, 0, 1, 0], COMMAND);
    ring.add([
      { offset: COMMAND, length: 4, write: false },
      { offset: ACK, length: 1, write: true },
    ]);
    ring.publish();
    harness.kick(index);
    harness.settle();
    expect(ring.next()).toBeUndefined();
    harness.close();
  });

  test(`${layout}: a command without room for its ack asks for a reset`, () => {
    const { harness, ring, index } = rig();
    harness.driverOk();
    ring.add([{ offset: COMMAND, length: 4, write: false }]);
    ring.publish();
    harness.kick(index);
    harness.settle();
    expect(harness.get("device_status") & 64).toBe(64);
    harness.close();
  });
}
