import { expect } from "bun:test";
import type { FaultName } from "../../../src/hw/sim/fault-switch.ts";
import { connectGuest, type Guest, type GuestOptions } from "../../support/front-end/guest.ts";
import { Daemon, type Holdings } from "./daemon.ts";
import { wellBehaved } from "./well-behaved.ts";

/** A daemon with a simulated device whose misbehaviour is switched on and off. */
export class FaultyDevice implements AsyncDisposable {
  #mark = 0;

  private constructor(
    readonly daemon: Daemon,
    readonly rest: Holdings,
  ) {}

  static async start(fault: FaultName, args: readonly string[] = []): Promise<FaultyDevice> {
    const daemon = await Daemon.start({ args: ["--sim-fault", fault, "--sim-fault-later", ...args] });
    try {
      await wellBehaved(daemon);
      await wellBehaved(daemon, { packed: true });
      await daemon.logged(/front-end disconnected/);
      return new FaultyDevice(daemon, await daemon.settledHoldings());
    } catch (error) {
      await daemon.dispose();
      throw error;
    }
  }

  /** A running guest of two pairs. */
  guest(options: GuestOptions = {}): Promise<Guest> {
    return connectGuest({ socketPath: this.daemon.socketPath, pairs: 2, ringSize: 64, ...options });
  }

  async misbehave(): Promise<void> {
    this.#mark = this.daemon.log.length;
    this.daemon.child.kill("SIGUSR2");
    await this.daemon.logged(/simulated device misbehaves as ordered/, this.#mark);
  }

  async behave(): Promise<void> {
    const mark = this.daemon.log.length;
    this.daemon.child.kill("SIGUSR2");
    await this.daemon.logged(/simulated device misbehaves no longer/, mark);
  }

  /** What was complained about since the device began to misbehave. */
  get complaints(): string[] {
    return this.daemon.complaints(this.#mark);
  }

  /** Waits for a complaint since then. */
  complains = (pattern: RegExp) => this.daemon.logged(pattern, this.#mark);

  /** The device behaves again: nothing is left over, a front-end can work, and the daemon ends as it should. */
  async recovers(options: GuestOptions = {}): Promise<void> {
    const { daemon } = this;
    expect(daemon.running).toBe(true);
    await daemon.backTo(this.rest);
    await wellBehaved(daemon, options);
    await daemon.backTo(this.rest);
    expect(await daemon.stop()).toBe(0);
    expect(daemon.socketExists).toBe(false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon.dispose();
  }
}

/** Sends one frame on each of these pairs, whatever becomes of them. */
export function send(guest: Guest, ...pairs: readonly number[]): void {
  for (const index of pairs) {
    const { tx } = guest.pairs[index]!;
    guest.pairs[index]!.transmit(Buffer.alloc(100));
    tx.flush();
    tx.signal();
  }
}
