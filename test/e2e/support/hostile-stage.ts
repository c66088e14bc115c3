import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeFd } from "../../../src/hw/ffi/fd.ts";
import { Channel, PeerClosed } from "../../support/front-end/channel.ts";
import { FrontEnd } from "../../support/front-end/front-end.ts";
import { connectGuest, Guest, type GuestOptions } from "../../support/front-end/guest.ts";
import { Feature, Protocol } from "../../support/front-end/protocol.ts";
import { Daemon, type DaemonOptions, type Holdings } from "./daemon.ts";
import { passFrames, wellBehaved } from "./well-behaved.ts";

const ALL_PROTOCOL =
  Protocol.MQ |
  Protocol.LOG_SHMFD |
  Protocol.REPLY_ACK |
  Protocol.MTU |
  Protocol.BACKEND_REQ |
  Protocol.RESET_DEVICE |
  Protocol.CONFIGURE_MEM_SLOTS |
  Protocol.STATUS;

/** How a request that must fail is sent. */
export interface Bad {
  readonly request: number;
  readonly payload?: Uint8Array;
  readonly fds?: readonly number[];
  /** The connection to send it on (a fresh negotiated one). */
  readonly on?: () => Promise<FrontEnd>;
  /** What the log must say. */
  readonly log: RegExp;
  /** A disconnect is as good as an ack although NEED_REPLY is set: the message could not be understood. */
  readonly mayClose?: boolean;
}

/**
 * One daemon for a file of hostile tests. Every test must leave it as it was: alive, holding no fd and no map more
 * than before, and serving the next front-end.
 */
export class HostileStage {
  daemon!: Daemon;
  #rest!: Holdings;
  readonly #toClose: { close(): void }[] = [];

  constructor(options: DaemonOptions = {}) {
    let pid = 0;
    beforeAll(async () => {
      this.daemon = await Daemon.start(options);
      pid = this.daemon.pid;
      // What is opened on first use is there after this.
      await wellBehaved(this.daemon);
      await wellBehaved(this.daemon, { packed: true });
      this.#rest = await this.daemon.settledHoldings();
    }, 120_000);
    afterAll(async () => {
      try {
        expect(this.daemon.running).toBe(true);
        expect(this.daemon.pid).toBe(pid);
        expect(await this.daemon.stop()).toBe(0);
        expect(this.daemon.socketExists).toBe(false);
      } finally {
        await this.daemon?.dispose();
      }
    }, 60_000);
  }

  /** A test of one item of the list; `body` says what the front-end does wrong and how that must end. */
  item(number: number, title: string, body: () => Promise<void>): void {
    test(`item ${number}: ${title}`, async () => {
      try {
        await body();
      } finally {
        for (const thing of this.#toClose.splice(0)) thing.close();
      }
      await this.afterwards();
    }, 120_000);
  }

  /** Nothing is left over and a front-end that behaves can pass frames. */
  async afterwards(): Promise<void> {
    expect(this.daemon.running).toBe(true);
    await this.daemon.backTo(this.#rest);
    await wellBehaved(this.daemon, {}, 100);
    await this.daemon.backTo(this.#rest);
  }

  /** A connection on which nothing was said. */
  async channel(): Promise<Channel> {
    return this.#own(await Channel.connect(this.daemon.socketPath));
  }

  async silent(): Promise<FrontEnd> {
    return new FrontEnd(await this.channel());
  }

  /** A connection with features, all protocol features and an owner. */
  negotiated = async (features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES): Promise<FrontEnd> => {
    const fe = await this.silent();
    const offered = await fe.getFeatures();
    await fe.setProtocolFeatures((await fe.getProtocolFeatures()) & ALL_PROTOCOL);
    await fe.setOwner();
    await fe.setFeatures(offered & features);
    return fe;
  };

  /** A running guest. */
  async guest(options: GuestOptions = {}): Promise<Guest> {
    return this.#own(await connectGuest({ socketPath: this.daemon.socketPath, ...options }));
  }

  /** A guest that is connected and negotiated but not started. */
  async idleGuest(options: GuestOptions = {}): Promise<Guest> {
    return this.#own(await Guest.connect({ socketPath: this.daemon.socketPath, ...options }));
  }

  passFrames = (guest: Guest) => passFrames(guest, { frames: 200, pairs: [0] });

  /** An fd that is closed after the test. */
  fd(number: number): number {
    this.#own({ close: () => closeFd(number) });
    return number;
  }

  /** A request that must fail: with NEED_REPLY by an ack and the connection stays, without by a disconnect. */
  async refuses(bad: Bad): Promise<void> {
    const { request, payload, fds = [], on = this.negotiated, log } = bad;
    for (const needReply of [true, false]) {
      const fe = await on();
      const mark = this.daemon.log.length;
      const ack = needReply ? await acked(fe, bad) : undefined;
      if (ack === undefined) {
        if (!needReply) await fe.post(request, payload, fds);
        await fe.channel.closed();
      } else {
        expect(ack).not.toBe(0n);
        await fe.barrier();
      }
      await this.#loggedOnce(log, mark);
      // There is one front-end at a time.
      fe.close();
    }
  }

  /** Bytes after which the connection must be closed. */
  async closesOn(log: RegExp, bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    const fe = await this.negotiated();
    const mark = this.daemon.log.length;
    await fe.channel.send(bytes, fds);
    await fe.channel.closed();
    await this.#loggedOnce(log, mark);
    fe.close();
  }

  /** Something that must fail anywhere on its way, by a refusal or a disconnect. */
  async fails(log: RegExp, body: () => Promise<unknown>): Promise<void> {
    const mark = this.daemon.log.length;
    const outcome = await body().then(
      () => "succeeded",
      (error: Error) => error.name,
    );
    expect(["Refused", "PeerClosed"]).toContain(outcome);
    await this.daemon.logged(log, mark);
  }

  /** One line says what was wrong, and it is the only complaint. */
  async #loggedOnce(log: RegExp, mark: number): Promise<void> {
    await this.daemon.logged(log, mark);
    const complaints = this.daemon.log.slice(mark).filter((line) => /^(warning|error)/.test(line));
    expect(complaints).toEqual([expect.stringMatching(log)]);
  }

  #own<T extends { close(): void }>(thing: T): T {
    this.#toClose.push(thing);
    return thing;
  }
}

/** The ack of a request, or undefined where the connection was closed instead and may be. */
async function acked(fe: FrontEnd, bad: Bad): Promise<bigint | undefined> {
  try {
    return await fe.ack(bad.request, bad.payload, bad.fds);
  } catch (error) {
    if (bad.mayClose && error instanceof PeerClosed) return undefined;
    throw error;
  }
}
