import type { FakeDma } from "./fake-dma.ts";

/** A control command as the device got it. */
export interface Received {
  readonly commandClass: number;
  readonly command: number;
  readonly data: number[];
}

/** What the device does with a command: the ack byte, or nothing at all. */
export type Answer = (received: Received) => number | "never";

interface Descriptor {
  readonly address: bigint;
  readonly length: number;
  readonly flags: number;
  readonly at: number;
}

const NEXT = 1;
const WRITE = 2;

/** The device's side of a split control queue, written from the specification's rules rather than the driver's code. */
export class SplitControlDevice {
  readonly received: Received[] = [];
  #seen = 0;

  constructor(
    private readonly dma: FakeDma,
    private readonly entries: number,
    private readonly desc: bigint,
    private readonly avail: bigint,
    private readonly used: bigint,
    private readonly answer: Answer,
  ) {}

  /** Bytes at an address of the driver. */
  field(iova: bigint): number {
    return this.dma.view(iova, 2).getUint16(0, true);
  }

  run(): void {
    while (this.#seen !== this.field(this.avail + 2n)) {
      const slot = BigInt(4 + 2 * (this.#seen % this.entries));
      const head = this.field(this.avail + slot);
      const chain = this.#chain(head);
      const written = serve(this.dma, chain, this.answer, this.received);
      if (written === undefined) return;
      const element = this.dma.view(this.used + 4n + 8n * BigInt(this.#seen % this.entries), 8);
      element.setUint32(0, head, true);
      element.setUint32(4, written, true);
      this.#seen = (this.#seen + 1) & 0xffff;
      this.dma.view(this.used + 2n, 2).setUint16(0, this.#seen, true);
    }
  }

  #chain(head: number): Descriptor[] {
    const chain: Descriptor[] = [];
    for (let at = head; ; ) {
      const view = this.dma.view(this.desc + BigInt(16 * at), 16);
      const flags = view.getUint16(12, true);
      chain.push({ address: view.getBigUint64(0, true), length: view.getUint32(8, true), flags, at });
      if (!(flags & NEXT)) return chain;
      at = view.getUint16(14, true);
    }
  }
}

/** The same for a packed queue. */
export class PackedControlDevice {
  readonly received: Received[] = [];
  #position = 0;
  #wrap = true;

  constructor(
    private readonly dma: FakeDma,
    private readonly entries: number,
    private readonly desc: bigint,
    private readonly answer: Answer,
  ) {}

  run(): void {
    while (this.#available(this.#position, this.#wrap)) {
      const chain: Descriptor[] = [];
      let at = this.#position;
      let wrap = this.#wrap;
      for (;;) {
        if (!this.#available(at, wrap)) throw new Error(`descriptor ${at} of a chain is not available`);
        const view = this.#view(at);
        const flags = view.getUint16(14, true);
        chain.push({ address: view.getBigUint64(0, true), length: view.getUint32(8, true), flags, at });
        at++;
        if (at === this.entries) {
          at = 0;
          wrap = !wrap;
        }
        if (!(flags & NEXT)) break;
      }
      const written = serve(this.dma, chain, this.answer, this.received);
      if (written === undefined) return;
      const view = this.#view(this.#position);
      view.setUint32(8, written, true);
      view.setUint16(12, this.#view(chain.at(-1)!.at).getUint16(12, true), true);
      view.setUint16(14, this.#wrap ? 0x8080 : 0, true);
      this.#position = at;
      this.#wrap = wrap;
    }
  }

  #view(at: number): DataView {
    return this.dma.view(this.desc + BigInt(16 * at), 16);
  }

  #available(at: number, wrap: boolean): boolean {
    const flags = this.#view(at).getUint16(14, true);
    return ((flags & 0x80) !== 0) === wrap && ((flags & 0x8000) !== 0) !== wrap;
  }
}

function serve(
  dma: FakeDma,
  chain: readonly Descriptor[],
  answer: Answer,
  received: Received[],
): number | undefined {
  const out = chain.filter(({ flags }) => !(flags & WRITE));
  const bytes = out.flatMap(({ address, length }) => {
    const view = dma.view(address, length);
    return Array.from({ length }, (_, i) => view.getUint8(i));
  });
  const command: Received = { commandClass: bytes[0]!, command: bytes[1]!, data: bytes.slice(2) };
  received.push(command);
  const ack = answer(command);
  if (ack === "never") return undefined;
  const last = chain.at(-1)!;
  if (!(last.flags & WRITE) || last.length !== 1) throw new Error("no ack byte at the end of the chain");
  dma.view(last.address, 1).setUint8(0, ack);
  return 1;
}
