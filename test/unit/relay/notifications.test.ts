import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { Model } from "./model.ts";

/** Far beyond what they take: only a loop without an end should meet it. */
setDefaultTimeout(120_000);

/**
 * Everybody acts only when notified, and switches notifications off while working. A wish that is misread, or an
 * entry that is missed between the last look and switching on again, leaves chains behind.
 */
class Notified {
  readonly model: Model;
  readonly pending = new Set<"kick" | "doorbell" | "interrupt" | "call">();

  constructor(
    packed: boolean,
    size: number,
    start: number,
    wrap: number,
    eventIdx: boolean,
    sealable: boolean,
  ) {
    this.model = new Model({ packed, size, start, wrap, eventIdx, indirect: false, sealable });
    this.model.relay.setGuestKicks(true);
    this.model.relay.setDeviceCalls(true);
    this.model.device.enableKicks();
    this.model.driver.arm();
  }

  add(seed: number, count: number): void {
    for (let i = 0; i < count; i++) this.model.add(seed + i);
    if (this.model.driver.publish()) this.pending.add("kick");
  }

  serve(seed: number): void {
    const { pending, model } = this;
    const event = [...pending][seed % pending.size]!;
    pending.delete(event);
    const { relay, device, driver } = model;
    if (event === "kick") {
      relay.setGuestKicks(false);
      do {
        while (relay.forward() > 0) if (relay.kickWanted()) pending.add("doorbell");
      } while (relay.setGuestKicks(true));
    } else if (event === "doorbell") {
      device.disableKicks();
      do {
        model.take(1000);
        while (model.held.length > 0) model.finish(seed, seed);
        if (model.publish()) pending.add("interrupt");
      } while (device.enableKicks());
    } else if (event === "interrupt") {
      relay.setDeviceCalls(false);
      do {
        while (relay.complete() > 0) if (relay.callWanted()) pending.add("call");
      } while (relay.setDeviceCalls(true));
    } else {
      driver.disarm();
      do model.reap();
      while (driver.arm());
    }
    if (relay.fault) throw relay.fault;
  }
}

test("no notification is lost, whatever the order of events", () => {
  const step = fc.tuple(fc.boolean(), fc.nat(10_000), fc.integer({ min: 1, max: 9 }));
  const ring = fc.record({
    packed: fc.boolean(),
    power: fc.nat(5),
    odd: fc.nat(3),
    start: fc.oneof(fc.integer({ min: 65_500, max: 65_535 }), fc.nat(65_535)),
    wrap: fc.nat(1),
    eventIdx: fc.boolean(),
    sealable: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
  });
  fc.assert(
    fc.property(ring, fc.array(step, { maxLength: 150, size: "max" }), (r, steps) => {
      const size = r.packed ? 2 ** r.power + r.odd : 2 ** r.power;
      const start = r.packed ? r.start % size : r.start;
      const it = new Notified(r.packed, size, start, r.wrap, r.eventIdx, r.sealable);
      try {
        for (const [add, seed, count] of steps) {
          if (add || it.pending.size === 0) it.add(seed, count);
          else it.serve(seed);
        }
        for (let i = 0; it.pending.size > 0; i++) it.serve(i);
        expect(it.model.reaped.length).toBe(it.model.added);
        expect(it.model.reaped).toEqual(it.model.deviceOrder);
      } finally {
        it.model.close();
      }
    }),
    { numRuns: 300 },
  );
});

test("a quiet guest gets no calls and a quiet device no kicks", () => {
  for (const packed of [false, true]) {
    for (const eventIdx of [false, true]) {
      const model = new Model({
        packed,
        size: 16,
        start: 0,
        wrap: 1,
        eventIdx,
        indirect: false,
        sealable: true,
      });
      model.driver.disarm();
      model.device.disableKicks();
      // With event idx on a split ring the index that has not been passed yet fires once.
      for (let i = 0, kicks = 0, calls = 0; i < 6; i++) {
        model.add(1);
        model.driver.publish();
        model.relay.forward();
        if (model.relay.kickWanted()) kicks++;
        model.take(9);
        model.finish(0, 0);
        model.publish();
        model.relay.complete();
        if (model.relay.callWanted()) calls++;
        model.reap();
        const once = eventIdx && !packed ? 1 : 0;
        expect({ kicks, calls }).toEqual({ kicks: once, calls: once });
      }
      model.close();
    }
  }
});
