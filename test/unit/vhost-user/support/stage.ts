import { afterEach, beforeEach, expect } from "bun:test";
import { readdirSync } from "node:fs";
import { EventLoop } from "../../../../src/hw/ffi/event-loop.ts";
import { createEventfd } from "../../../../src/hw/ffi/eventfd.ts";
import { closeFd, memfd } from "../../../../src/hw/ffi/fd.ts";
import { unixSocketPair } from "../../../../src/hw/ffi/unix-socket.ts";
import type { Trace } from "../../../../src/hw/trace.ts";
import { FrontEnd } from "../../../../src/vhost-user/front-end.ts";
import { REQUEST } from "../../../../src/vhost-user/protocol.ts";
import type { Session } from "../../../../src/vhost-user/session.ts";
import { CollectedLog } from "../../memory/collected-log.ts";
import { FakeDevice, MQ, VERSION_1 } from "./fake-device.ts";
import { Peer } from "./peer.ts";
import { memTable, u32s, u64s, vringAddr } from "./wire.ts";

export const PROTOCOL_FEATURES = 1n << 30n;
export const UVA = 0x7f00_0000_0000n;
export const RAM: { gpa: bigint; size: bigint; uva: bigint; mmapOffset: bigint } = {
  gpa: 0x10_0000n,
  size: 0x10_0000n,
  uva: UVA,
  mmapOffset: 0n,
};

/** Every protocol feature that is implemented. */
export const ALL = 0x9ac3fn;

/**
 * One connected front-end per test on a device that only remembers. After each test everything must be given back:
 * no fd, no DMA mapping, the device stopped.
 */
export class Stage {
  loop!: EventLoop;
  device!: FakeDevice;
  log!: CollectedLog;
  peer!: Peer;
  frontEnd!: FrontEnd;
  counted!: Record<string, number>;
  gone!: number;
  /** Set it and connect anew, for a session of which it is told. */
  trace: Trace | undefined;
  readonly #cleanup: (() => void)[] = [];
  #before = 0;

  constructor() {
    beforeEach(() => {
      this.#before = readdirSync("/proc/self/fd").length;
      this.loop = new EventLoop();
      this.log = new CollectedLog();
      this.device = new FakeDevice(this.log);
      this.counted = {};
      this.gone = 0;
      this.trace = undefined;
      this.connect();
    });
    afterEach(() => {
      this.peer.close();
      for (const step of this.#cleanup.splice(0)) step();
      this.loop.close();
      expect(this.device.running).toBe(false);
      expect(this.device.dma.mapped.size).toBe(0);
      expect(this.gone).toBeGreaterThan(0);
      expect(readdirSync("/proc/self/fd").length).toBe(this.#before);
    });
  }

  get session(): Session {
    return this.frontEnd.session;
  }

  connect(): void {
    const [ours, theirs] = unixSocketPair();
    const { loop, device, log } = this;
    const counters = {
      add: (name: string, n = 1) => {
        this.counted[name] = (this.counted[name] ?? 0) + n;
      },
    };
    const { trace } = this;
    this.frontEnd = new FrontEnd({ loop, device, log, counters, trace }, ours, () => this.gone++);
    this.peer = new Peer(loop, theirs);
  }

  /** An fd of the test, closed after it. */
  keep(fd: number): number {
    this.afterwards(() => closeFd(fd));
    return fd;
  }

  /** Called at the end of the test. */
  afterwards(step: () => void): void {
    this.#cleanup.push(step);
  }

  eventfd = () => this.keep(createEventfd());
  ram = (size = 0x10_0000) => this.keep(memfd("guest-ram", size));

  negotiate({ features = VERSION_1 | PROTOCOL_FEATURES, protocol = ALL } = {}): void {
    this.peer.post(REQUEST.SET_PROTOCOL_FEATURES, u64s(protocol));
    this.peer.post(REQUEST.SET_OWNER);
    this.peer.post(REQUEST.SET_FEATURES, u64s(features));
  }

  setMemory(): void {
    this.peer.post(REQUEST.SET_MEM_TABLE, memTable([RAM]), [this.ram()]);
  }

  /** Front-end addresses of a ring of 256 entries in RAM. */
  addresses(index: number) {
    const desc = UVA + BigInt(index) * 0x4000n;
    return { desc, avail: desc + 0x1000n, used: desc + 0x2000n };
  }

  /** NUM, BASE, ADDR, KICK and CALL, without an ack. */
  startRing(index: number, { base = 0, size = 256 } = {}): void {
    this.peer.post(REQUEST.SET_VRING_NUM, u32s(index, size));
    this.peer.post(REQUEST.SET_VRING_BASE, u32s(index, base));
    this.peer.post(REQUEST.SET_VRING_ADDR, vringAddr(index, this.addresses(index)));
    this.peer.post(REQUEST.SET_VRING_KICK, u64s(BigInt(index)), [this.eventfd()]);
    this.peer.post(REQUEST.SET_VRING_CALL, u64s(BigInt(index)), [this.eventfd()]);
  }

  /** A front-end with STATUS whose first pair (or more with MQ) runs. */
  run({ pairs = 1, protocol = ALL, features = VERSION_1 | PROTOCOL_FEATURES } = {}): void {
    this.negotiate({ features: pairs > 1 ? features | MQ : features, protocol });
    this.setMemory();
    for (let index = 0; index < 2 * pairs; index++) {
      this.peer.post(REQUEST.SET_VRING_ENABLE, u32s(index, 1));
      this.startRing(index);
    }
    if (protocol & (1n << 16n)) this.peer.post(REQUEST.SET_STATUS, u64s(0xfn));
    expect(this.device.running).toBe(true);
    this.device.takeCalls();
  }

  /**
   * The message is refused: with NEED_REPLY by a non-zero ack and the connection stays, and on the same connection
   * without it by a disconnect; one log line each, with the message's name and the reason.
   */
  refuses(request: keyof typeof REQUEST, reason: string, payload?: Uint8Array, fds?: () => number[]): void {
    const expected = expect.stringContaining(`${request} refused: `);
    this.log.lines.length = 0;
    expect(this.peer.ack(REQUEST[request], payload, fds?.())).not.toBe(0n);
    expect(this.log.lines).toEqual([expected]);
    expect(this.log.lines[0]).toContain(reason);
    expect(this.peer.get(REQUEST.GET_FEATURES)).not.toBe(0n);
    this.log.lines.length = 0;
    this.peer.post(REQUEST[request], payload, fds?.());
    expect(this.peer.disconnected).toBe(true);
    expect(this.log.lines).toEqual([expected]);
    expect(this.log.lines[0]).toContain(reason);
  }
}
