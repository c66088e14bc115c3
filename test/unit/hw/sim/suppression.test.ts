import { afterEach, beforeEach, expect, test } from "bun:test";
import { createEventfd, drainEventfd } from "../../../../src/hw/ffi/eventfd.ts";
import { closeFd, writeFd } from "../../../../src/hw/ffi/fd.ts";
import { libc } from "../../../../src/hw/ffi/libc.ts";
import { F } from "../../../../src/hw/sim/virtio.ts";
import { RingMemory } from "../../../support/virtio-driver/driver-ring.ts";
import { NetPair, testFrame } from "../../../support/virtio-driver/net-pair.ts";
import { SimHarness } from "../../../support/virtio-driver/sim-harness.ts";

test("a full blocking eventfd does not block the device", () => {
  // 0: no EFD_NONBLOCK; the largest count that an eventfd can hold.
  const full = libc.eventfd(0, 0);
  writeFd(full, new Uint8Array(new BigUint64Array([0xffff_ffff_ffff_fffen]).buffer));
  const harness = new SimHarness();
  const { interrupts, counters } = harness.device;
  interrupts.enable(1);
  interrupts.setVector(0, full);
  interrupts.signal(0);
  expect(counters.read().interrupts).toBe(1);
  harness.close();
  closeFd(full);
});

let call: number;
beforeEach(() => {
  call = createEventfd();
});
afterEach(() => closeFd(call));

for (const packed of [false, true]) {
  for (const eventIdx of [false, true]) {
    const name = `${packed ? "packed" : "split"}, ${eventIdx ? "event idx" : "flags"}`;

    function rig() {
      const harness = new SimHarness();
      const pair = new NetPair(new RingMemory(harness.memory(0x10_0000n, 2 << 20)), 0, {
        packed,
        eventIdx,
        size: 8,
      });
      harness.device.interrupts.enable(2);
      harness.device.interrupts.setVector(1, call);
      harness.negotiate(
        F.VERSION_1 | F.ACCESS_PLATFORM | (packed ? F.RING_PACKED : 0n) | (eventIdx ? F.EVENT_IDX : 0n),
      );
      harness.enable(0, pair.rx);
      harness.enable(1, pair.tx, 1);
      harness.driverOk();
      return { harness, pair };
    }

    test(`${name}: one interrupt for a batch, none while disarmed, over several laps`, () => {
      const { harness, pair } = rig();
      for (let lap = 0; lap < 20; lap++) {
        const armed = lap % 3 !== 0;
        if (armed) expect(pair.tx.armInterrupt()).toBe(false);
        else pair.tx.disarmInterrupt();
        for (let i = 0; i < 3; i++) expect(pair.send(testFrame(0, i))).toBe(true);
        pair.tx.publish();
        harness.kick(1);
        pair.offer();
        pair.rx.publish();
        harness.kick(0);
        harness.settle();
        expect(drainEventfd(call)).toBe(armed ? 1n : 0n);
        expect(pair.reclaim()).toBe(3);
        expect(pair.receive()).toHaveLength(3);
      }
      harness.close();
    });

    test(`${name}: the device asks for kicks exactly when it sleeps`, () => {
      const { harness, pair } = rig();
      // A packed device has not yet said that it wants a position until it has slept once.
      harness.kick(1);
      harness.settle();
      for (let lap = 0; lap < 20; lap++) {
        pair.send(testFrame(0, lap));
        expect(pair.tx.publish()).toBe(true);
        // Not yet kicked, so the device still sleeps; with event idx one kick is all it asks for.
        pair.send(testFrame(0, lap));
        expect(pair.tx.publish()).toBe(!eventIdx);
        harness.kick(1);
        pair.offer();
        pair.rx.publish();
        harness.kick(0);
        harness.settle();
        expect(pair.receive()).toHaveLength(2);
      }
      harness.close();
    });

    test(`${name}: no interrupt without a vector or a trigger`, () => {
      const { harness, pair } = rig();
      harness.device.interrupts.setVector(1, -1);
      pair.tx.armInterrupt();
      pair.send(testFrame(0, 1));
      pair.tx.publish();
      harness.kick(1);
      harness.settle();
      expect(pair.reclaim()).toBe(1);
      expect(drainEventfd(call)).toBe(0n);
      harness.close();
    });
  }
}
