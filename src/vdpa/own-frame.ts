import { DmaBuffer } from "../hw/dma-buffer.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { waitUntil } from "../hw/virtio/bounded-wait.ts";
import type { CommandRing, Outcome } from "../hw/virtio/command-ring.ts";
import * as F from "../hw/virtio/features.ts";
import { PackedCommandRing } from "../hw/virtio/packed-command-ring.ts";
import { alignUp, packedRingLayout, type RingLayout, splitRingLayout } from "../hw/virtio/ring-layout.ts";
import { SplitCommandRing } from "../hw/virtio/split-command-ring.ts";
import { NO_VECTOR } from "../hw/virtio/transport.ts";
import { allocateIova } from "../memory/iova-allocator.ts";
import type { DeviceRun } from "./device-run.ts";

/** How long the device may take to transmit the frame. The guest's own wait meanwhile. */
const LIMIT_MS = 1000;

/**
 * Bytes of the header in front of each frame (virtio 1.3 §5.1.6): `num_buffers` is part of it unless the driver is a
 * legacy one without mergeable buffers. HASH_REPORT, which makes it longer, is never negotiated.
 */
const headerBytes = (features: bigint): number =>
  F.hasFeature(features, F.VIRTIO_F_VERSION_1) || F.hasFeature(features, F.VIRTIO_NET_F_MRG_RXBUF) ? 12 : 10;

/** A ring of ours with one frame of ours, for a transmit queue that the guest's ring has left for a moment. */
export class OwnFrame {
  readonly #ring: CommandRing;
  readonly #layout: RingLayout;
  readonly #frameAt: number;
  readonly #length: number;

  private constructor(
    private readonly run: DeviceRun,
    private readonly entries: number,
    private readonly buffer: DmaBuffer,
    frame: Uint8Array,
  ) {
    const { negotiated } = run;
    const packed = F.hasFeature(negotiated, F.VIRTIO_F_RING_PACKED);
    this.#layout = layoutOf(packed, entries);
    const memory = { buffer, layout: this.#layout, entries };
    this.#ring = packed
      ? new PackedCommandRing(memory)
      : new SplitCommandRing(memory, F.hasFeature(negotiated, F.VIRTIO_RING_F_EVENT_IDX));
    const header = headerBytes(negotiated);
    this.#frameAt = alignUp(this.#layout.size, 64);
    this.#length = header + frame.length;
    // The header stays 0: no offload is asked for.
    buffer.memory.window(0).u8.set(frame, this.#frameAt + header);
  }

  /**
   * @param entries of the queue, as the guest's ring has them: some devices keep one size for all queues
   * @throws OperatorError where there is no room; the device is untouched
   */
  static create(run: DeviceRun, entries: number, frame: Uint8Array): OwnFrame {
    const { memory, transport } = run;
    const { dma } = transport.fn;
    const packed = F.hasFeature(run.negotiated, F.VIRTIO_F_RING_PACKED);
    const bytes = alignUp(layoutOf(packed, entries).size, 64) + headerBytes(run.negotiated) + frame.length;
    const size = alignUp(bytes, dma.pageSize);
    const iova = allocateIova(dma, memory, size);
    const buffer = DmaBuffer.create(dma, iova, size, "vdpactl-frame");
    memory.reserve(iova, iova + BigInt(size) - 1n);
    return new OwnFrame(run, entries, buffer, frame);
  }

  /** Has a queue that was reset transmit the frame; it must be reset again afterwards, after an error too. */
  transmitOn(queue: number): void {
    const { transport, doorbells } = this.run;
    const { iova } = this.buffer;
    const { desc, driver, device } = this.#layout;
    transport.setupQueue(queue, {
      size: this.entries,
      desc: iova + BigInt(desc),
      driver: iova + BigInt(driver),
      device: iova + BigInt(device),
      vector: NO_VECTOR,
    });
    transport.enableQueue(queue);
    this.#ring.submit([{ iova: iova + BigInt(this.#frameAt), length: this.#length, deviceWrites: false }]);
    doorbells.ring(transport.doorbell(queue));
    let outcome: Outcome = "pending";
    waitUntil(() => {
      outcome = this.#ring.poll();
      return outcome !== "pending";
    }, LIMIT_MS);
    this.#judge(outcome, queue);
  }

  #judge(outcome: Outcome, queue: number): void {
    if (outcome === "done") return;
    const why = outcome === "pending" ? `it was given ${LIMIT_MS / 1000} s` : outcome.fault;
    const { name } = this.run.transport.fn;
    throw new OperatorError(`${name} did not transmit a frame of ours on queue ${queue}`, { why });
  }

  /** Frees its memory, which the device must have forgotten. */
  close(): void {
    this.buffer.close();
    this.run.memory.release(this.buffer.iova);
  }
}

const layoutOf = (packed: boolean, entries: number): RingLayout =>
  packed ? packedRingLayout(entries) : splitRingLayout(entries);
