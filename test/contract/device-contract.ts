import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { DmaBuffer } from "../../src/hw/dma-buffer.ts";
import { createEventfd, drainEventfd } from "../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../src/hw/ffi/fd.ts";
import { CONFIG_REGION, type PciFunction } from "../../src/hw/pci-function.ts";
import { VIRTIO_F_RING_PACKED, VIRTIO_F_RING_RESET } from "../../src/hw/virtio/features.ts";
import { negotiate } from "../../src/hw/virtio/negotiate.ts";
import { NO_VECTOR } from "../../src/hw/virtio/transport.ts";
import { frameLabel, testFrame } from "../support/virtio-driver/net-pair.ts";
import { IOVA, Session } from "./session.ts";

/** A network device to test, whose wire brings back what it sends. */
export interface ContractDevice {
  open(): PciFunction;
  /** A frame comes back on the pair that sent it; else on any enabled pair. */
  readonly samePair: boolean;
  /** Resolves when all that `open` has started is gone, after `close`. */
  ended?(): Promise<void>;
}

const PAGE = 4096;
const openFds = () => readdirSync("/proc/self/fd").length;

/** What every implementation of PciFunction must do, seen by a virtio driver. */
export function runDeviceContract(name: string, device: ContractDevice): void {
  describe(name, () => {
    let session: Session;
    beforeEach(() => {
      session = new Session(device.open());
    });
    afterEach(async () => {
      session.close();
      await device.ended?.();
    });

    test("is a network device with modern registers", () => {
      const { fn, transport } = session;
      expect(transport.deviceType).toBe(1);
      expect(transport.layout).toBe("modern");
      // More pairs may appear only once MQ is accepted.
      expect(transport.numQueues).toBeGreaterThanOrEqual(2);
      expect(fn.msixVectors).toBeGreaterThanOrEqual(2);
      expect(fn.regionSize(CONFIG_REGION)).toBeGreaterThanOrEqual(256);
      expect([...transport.readConfig(0, 6)].some((byte) => byte !== 0)).toBe(true);
    });

    test("the configuration space reads the same at every width", () => {
      const { fn } = session;
      const byte = (i: number) => fn.read(CONFIG_REGION, i, 1);
      expect(fn.read(CONFIG_REGION, 0, 2)).toBe(byte(0) | (byte(1) << 8));
      expect(fn.read(CONFIG_REGION, 0, 4)).toBe(
        fn.read(CONFIG_REGION, 0, 2) + fn.read(CONFIG_REGION, 2, 2) * 65536,
      );
      expect(fn.read(CONFIG_REGION, 0, 2)).toBe(0x1af4);
    });

    test("accesses outside of a region are errors", () => {
      const { fn } = session;
      expect(() => fn.read(CONFIG_REGION, fn.regionSize(CONFIG_REGION), 4)).toThrow();
      const { region } = session.transport.doorbell(0);
      expect(() => fn.read(region, fn.regionSize(region), 1)).toThrow();
      expect(() => fn.write(region, fn.regionSize(region), 4, 0)).toThrow();
    });

    test("status goes up step by step and a reset brings it to 0", () => {
      const { transport } = session;
      expect(transport.status()).toBe(0);
      transport.setStatus(1);
      expect(transport.status()).toBe(1);
      transport.setStatus(3);
      expect(transport.status()).toBe(3);
      negotiate(transport, 0n);
      expect(transport.status()).toBe(11);
      transport.reset();
      expect(transport.status()).toBe(0);
    });

    test("a function level reset resets the registers and keeps the mappings", () => {
      session.start();
      session.fn.reset();
      expect(session.transport.status()).toBe(0);
      session.start();
      const [arrived] = session.exchange([{ pair: 0, frame: testFrame(0, 5) }]);
      expect(arrived?.frame).toEqual(testFrame(0, 5));
    });

    test("queues read back what was set up, and a reset disables them", () => {
      const { transport } = session;
      negotiate(transport, 0n);
      const most = transport.maxQueueSize(0);
      expect(most).toBeGreaterThan(1);
      transport.setupQueue(0, {
        size: 2,
        desc: IOVA,
        driver: IOVA + 64n,
        device: IOVA + 128n,
        vector: NO_VECTOR,
      });
      expect(transport.queueEnabled(0)).toBe(false);
      transport.enableQueue(0);
      expect(transport.queueEnabled(0)).toBe(true);
      expect(transport.queueEnabled(1)).toBe(false);
      transport.reset();
      expect(transport.queueEnabled(0)).toBe(false);
      expect(transport.maxQueueSize(0)).toBe(most);
      expect(transport.maxQueueSize(0x7fff)).toBe(0);
    });

    test("vectors beyond the table are refused by the device and by the function", () => {
      const { fn, transport } = session;
      expect(() => transport.setConfigVector(fn.msixVectors)).toThrow();
      expect(() => fn.enableMsix(fn.msixVectors + 1)).toThrow();
      const event = createEventfd();
      fn.enableMsix(1);
      expect(() => fn.setVector(1, event)).toThrow();
      fn.setVector(0, event);
      fn.setVector(0, -1);
      fn.disableMsix();
      fn.disableMsix();
      expect(() => fn.setVector(0, event)).toThrow();
      closeFd(event);
    });

    test("an fd that is no eventfd is refused as a vector's and as a doorbell's", () => {
      const { fn, transport } = session;
      fn.enableMsix(1);
      const file = memfd("no eventfd", PAGE);
      expect(() => fn.setVector(0, file)).toThrow();
      expect(() => fn.bindDoorbell(transport.doorbell(0), file)).toThrow();
      closeFd(file);
    });

    test("DMA maps are checked: alignment, aperture, overlap, and unmap of exactly one", () => {
      const { dma } = session.fn;
      const buffer = DmaBuffer.create(dma, IOVA, 4 * PAGE, "contract");
      const { hva } = buffer.memory;
      const map = (iova: bigint, size = PAGE, at = hva) => dma.map(iova, { hva: at, size, stable: true });
      expect(() => map(IOVA)).toThrow();
      expect(() => map(IOVA + BigInt(3 * PAGE), 2 * PAGE)).toThrow();
      expect(() => map(IOVA - BigInt(PAGE), 2 * PAGE)).toThrow();
      expect(() => map(IOVA + 0x10_0008n)).toThrow();
      expect(() => map(IOVA + 0x10_0000n, 100)).toThrow();
      expect(() => map(IOVA + 0x10_0000n, 0)).toThrow();
      expect(() => map(dma.usable.at(-1)!.last + 1n)).toThrow();
      expect(() => dma.unmap(IOVA, PAGE)).toThrow();
      expect(() => dma.unmap(IOVA + 0x10_0000n, PAGE)).toThrow();
      for (let i = 0; i < 20; i++) {
        map(IOVA + 0x10_0000n, 2 * PAGE);
        dma.unmap(IOVA + 0x10_0000n, 2 * PAGE);
      }
      buffer.close();
      expect(() => buffer.dma.unmap(IOVA, 4 * PAGE)).toThrow();
    });

    for (const packed of [false, true]) {
      describe(packed ? "packed" : "split", () => {
        /** Devices without packed rings have nothing to say here; the lab has one of each kind. */
        const layoutTest = (title: string, body: () => void) =>
          test(title, () => {
            if (!packed || session.offers(VIRTIO_F_RING_PACKED)) body();
          });

        const many = (count: number, pairs = 1, length = 64) =>
          Array.from({ length: count }, (_, i) => ({
            pair: i % pairs,
            frame: testFrame(i % pairs, i, length),
          }));

        /** Every frame once, whole, and where the wire promises it on its own pair. */
        const expectAll = (sent: ReturnType<typeof many>, arrived: ReturnType<typeof many>) => {
          expect(arrived.map(({ frame }) => frame)).toEqual(sent.map(({ frame }) => frame));
          if (!device.samePair) return;
          for (const { pair, frame } of arrived) expect(pair).toBe(frameLabel(frame).pair);
        };

        for (const eventIdx of [false, true]) {
          for (const pieces of [1, 3]) {
            const shape = `${eventIdx ? "event idx" : "flags"}, ${pieces} descriptor(s)`;
            layoutTest(`frames come back: ${shape}`, () => {
              session.start({ packed, eventIdx, pieces });
              const sent = many(300);
              expectAll(sent, session.exchange(sent));
            });
          }
        }

        layoutTest("frames come back through indirect tables, at every length", () => {
          session.start({ packed, indirect: true, pieces: 4, eventIdx: true });
          const sent = Array.from({ length: 120 }, (_, i) => ({
            pair: 0,
            frame: testFrame(0, i, 60 + i * 12),
          }));
          expectAll(sent, session.exchange(sent));
        });

        layoutTest("a ring of two wraps many times", () => {
          session.start({ packed, size: 2 });
          const sent = many(50);
          for (const one of sent) expectAll([one], session.exchange([one]));
        });

        layoutTest("doorbells ring through eventfds", () => {
          session.start({ packed, eventIdx: true, ioeventfd: true });
          const sent = many(300);
          expectAll(sent, session.exchange(sent));
        });

        layoutTest("interrupts reach the eventfd set last, and none after -1", () => {
          session.start({ packed });
          const { fn, calls } = session;
          const net = session.pairs[0]!;
          const sendOne = () => {
            net.tx.disarmInterrupt();
            net.rx.armInterrupt();
            net.send(testFrame(0, 1));
            net.tx.publish();
            session.kick(1);
          };
          const arrival = () => {
            const deadline = performance.now() + 10_000;
            while (session.receive(0).length === 0) {
              if (performance.now() > deadline) throw new Error("the frame did not arrive");
            }
          };
          sendOne();
          session.awaitInterrupt(0);
          arrival();
          const other = createEventfd();
          fn.setVector(1, other);
          const before = calls[0]!.count;
          sendOne();
          arrival();
          const signalled = performance.now() + 10_000;
          while (drainEventfd(other) === 0n) expect(performance.now()).toBeLessThan(signalled);
          expect(calls[0]!.count).toBe(before);
          fn.setVector(1, -1);
          sendOne();
          arrival();
          // The interrupt of this frame would come before that of a register read after it.
          session.transport.status();
          expect(drainEventfd(other)).toBe(0n);
          closeFd(other);
        });

        layoutTest("several pairs run at once", () => {
          const pairs = Math.min(session.maxPairs, 4);
          session.start({ packed, pairs, eventIdx: true });
          const sent = many(400, pairs);
          expectAll(sent, session.exchange(sent));
        });

        layoutTest("control commands: pairs, receive mode, address; nonsense is refused", () => {
          session.start({ packed });
          const { control, maxPairs, transport } = session;
          control!.setRxMode({ promisc: true, allmulti: true });
          control!.setRxMode({ promisc: false, allmulti: false });
          control!.setMac(Uint8Array.of(0x52, 0x54, 0, 0xaa, 0xbb, 0xcc));
          expect([...transport.readConfig(0, 6)]).toEqual([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);
          if (maxPairs === 1) return;
          control!.setQueuePairs(1);
          expect(() => control!.setQueuePairs(0)).toThrow("refuses");
          expect(() => control!.setQueuePairs(maxPairs + 1)).toThrow("refuses");
        });

        layoutTest("one queue can be reset and set up anew", () => {
          session.start({ packed });
          if (!session.offers(VIRTIO_F_RING_RESET)) {
            expect(() => session.transport.resetQueue(1)).toThrow("RING_RESET");
            return;
          }
          session.exchange(many(5));
          session.transport.resetQueue(1);
          expect(session.transport.queueEnabled(1)).toBe(false);
          expect(session.transport.queueEnabled(0)).toBe(true);
        });

        layoutTest("a reset with traffic in flight stops every write, and the device starts again", () => {
          session.start({ packed, eventIdx: true });
          const net = session.pairs[0]!;
          for (let i = 0; net.send(testFrame(0, i)); i++);
          net.tx.publish();
          session.kick(1);
          session.transport.reset();
          net.receive();
          net.reclaim();
          const { free } = net.tx;
          session.transport.status();
          expect(net.receive()).toEqual([]);
          expect(net.reclaim()).toBe(0);
          expect(net.tx.free).toBe(free);
          session.start({ packed, eventIdx: true });
          const sent = Array.from({ length: 100 }, (_, i) => ({ pair: 0, frame: testFrame(0, 1000 + i) }));
          expectAll(sent, session.exchange(sent));
        });
      });
    }

    test("close frees every fd", async () => {
      session.close();
      await device.ended?.();
      const before = openFds();
      session = new Session(device.open());
      session.start({ pairs: Math.min(session.maxPairs, 2), ioeventfd: true });
      expect(openFds()).toBeGreaterThan(before);
      session.close();
      session.fn.close();
      await device.ended?.();
      expect(openFds()).toBe(before);
      session = new Session(device.open());
    });
  });
}
