import { type Chain, halves, type Segment } from "./driver-ring.ts";
import type { GuestBuffer, Region } from "./guest-memory.ts";

/** struct virtio_net_hdr_v1 (virtio 1.3 §5.1.6.1): num_buffers is its last le16. */
export const NET_HEADER = 12;
const NUM_BUFFERS_AT = 10;
const AREA = 2048;

/** How a packet lies in guest memory: in one piece, in three, or in three behind an indirect table. */
export type Layout = "single" | "chain" | "indirect";

// Where the pieces of header plus frame lie, and their room; gaps prove that nobody takes them for one piece.
const ONE: readonly [offset: number, room: number][] = [[0, AREA]];
const THREE: readonly [offset: number, room: number][] = [
  [0, NET_HEADER],
  [64, 37],
  [256, AREA - 256],
];

/** Guest memory for one packet with its virtio-net header, used over and over. */
export class PacketBuffer {
  readonly chain: Chain;
  readonly #pieces: { segment: Segment; bytes: Buffer; room: number }[];

  constructor(region: Region, layout: Layout, write: boolean) {
    const area: GuestBuffer = region.allocate(AREA, 64);
    const table = layout === "indirect" ? region.allocate(16 * THREE.length, 16) : undefined;
    this.#pieces = (layout === "single" ? ONE : THREE).map(([offset, room]) => ({
      segment: { ...halves(area.gpa + BigInt(offset)), length: room },
      bytes: bufferOf(area.u8.subarray(offset, offset + room)),
      room,
    }));
    const segments = this.#pieces.map((piece) => piece.segment);
    this.chain = { segments, count: segments.length, write, table };
  }

  /** Puts an all-zero header and a frame in, and sets the segments' lengths to what they hold. */
  fill(frame: Buffer): void {
    let done = -NET_HEADER;
    let count = 0;
    for (const { segment, bytes, room } of this.#pieces) {
      if (done >= frame.length) break;
      let at = 0;
      if (done < 0) {
        bytes.fill(0, 0, NET_HEADER);
        at = NET_HEADER;
        done = 0;
      }
      const take = Math.min(room - at, frame.length - done);
      frame.copy(bytes, at, done, done + take);
      segment.length = at + take;
      done += take;
      count++;
    }
    this.chain.count = count;
  }

  /** Offers the whole buffer and spoils its header, so that a header that was not written shows. */
  offer(): void {
    for (const { segment, room } of this.#pieces) segment.length = room;
    this.chain.count = this.#pieces.length;
    this.#pieces[0]!.bytes.fill(0xff, 0, NET_HEADER);
  }

  /** num_buffers of the header that the device wrote. */
  get numBuffers(): number {
    return this.#pieces[0]!.bytes.readUInt16LE(NUM_BUFFERS_AT);
  }

  /** Copies the frame out of a buffer of which the device wrote `used` bytes; returns it within `into`. */
  read(used: number, into: Buffer): Buffer {
    let skip = NET_HEADER;
    let left = used;
    let done = 0;
    for (const { bytes, room } of this.#pieces) {
      const here = Math.min(room, left);
      done += bytes.copy(into, done, skip, Math.max(here, skip));
      left -= here;
      skip = Math.max(0, skip - here);
    }
    return into.subarray(0, done);
  }
}

const bufferOf = (u8: Uint8Array) => Buffer.from(u8.buffer, u8.byteOffset, u8.byteLength);
