import { type ControlState, runControlCommand } from "./control-queue.ts";
import type { SimCounters } from "./counters.ts";
import type { DmaPort } from "./dma-port.ts";
import type { Interrupts } from "./interrupts.ts";
import { LoopbackPort } from "./loopback-port.ts";
import { netConfig } from "./net-config.ts";
import type { SimConfig } from "./sim-options.ts";
import { F } from "./virtio.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** The network device behind the registers, virtio 1.3 §5.1: queue pairs with a looped-back wire, and control. */
export class NetFunction {
  /** Device-specific configuration space. */
  readonly config: Uint8Array;
  readonly #simConfig: SimConfig;
  readonly #dma: DmaPort;
  readonly #interrupts: Interrupts;
  readonly #counters: SimCounters;
  readonly #ports: LoopbackPort[];
  #control: ControlState;

  constructor(config: SimConfig, dma: DmaPort, interrupts: Interrupts, counters: SimCounters) {
    this.#simConfig = config;
    this.#dma = dma;
    this.#interrupts = interrupts;
    this.#counters = counters;
    this.config = netConfig(config);
    this.#ports = Array.from(
      { length: config.pairs },
      () => new LoopbackPort(dma, interrupts, counters, config.portFrames),
    );
    this.#control = this.#initialControl();
  }

  get control(): Readonly<ControlState> {
    return this.#control;
  }

  /** Virtqueues that exist with these features; all of them while they are unknown. */
  queueCount(features: bigint | undefined): number {
    const { pairs } = this.#simConfig;
    if (features === undefined || features & F.NET_MQ) return 2 * pairs + 1;
    return features & F.NET_CTRL_VQ ? 3 : 2;
  }

  /** §5.1.2: the control queue comes after the last pair that there may be. */
  isControl(queue: number, features: bigint): boolean {
    return queue === (features & F.NET_MQ ? 2 * this.#simConfig.pairs : 2);
  }

  reset(): void {
    for (const port of this.#ports) port.clear();
    this.#control = this.#initialControl();
    this.config.set(this.#control.mac, 0);
  }

  /** Serves the queues that were kicked; true when there is more to do. Throws DeviceFault. */
  poll(queues: readonly Virtqueue[], features: bigint): boolean {
    // §5.1.2: the control queue comes after the last pair that there may be.
    if (features & F.NET_CTRL_VQ) {
      const control = queues[features & F.NET_MQ ? 2 * this.#simConfig.pairs : 2];
      if (control?.kicked && control.ring) this.#serveControl(control, queues, features);
    }
    let more = false;
    for (let pair = 0; pair < this.#control.pairs; pair++) {
      const receive = queues[2 * pair]!;
      const transmit = queues[2 * pair + 1]!;
      if (!receive.kicked && !transmit.kicked) continue;
      const again = this.#ports[pair]!.pump(receive, transmit);
      receive.kicked = false;
      transmit.kicked = again;
      more ||= again;
    }
    return more;
  }

  #serveControl(queue: Virtqueue, queues: readonly Virtqueue[], features: bigint): void {
    const { ring, inFlight } = queue;
    queue.kicked = false;
    do {
      for (let chain = inFlight!.peek(); chain; chain = inFlight!.peek()) {
        if (this.#simConfig.faults.controlNeverCompletes) {
          inFlight!.swallow(chain);
          continue;
        }
        const { pairs, mac } = this.#control;
        runControlCommand(chain, this.#dma, features, this.#simConfig.pairs, this.#control);
        inFlight!.finish(chain, 1);
        this.#counters.add("control_commands");
        if (this.#control.mac !== mac) this.config.set(this.#control.mac, 0);
        // Entries that were made available while a pair was off are due now.
        if (this.#control.pairs !== pairs) for (const data of queues) if (data !== queue) data.kicked = true;
      }
      inFlight!.flush();
      if (ring!.publish()) this.#interrupts.signal(queue.vector);
    } while (ring!.enableKicks());
  }

  #initialControl(): ControlState {
    return { pairs: 1, mac: netConfig(this.#simConfig).slice(0, 6), promiscuous: true, allMulticast: false };
  }
}
