/**
 * Test frames: Ethernet with the local experimental EtherType, then pair, sequence number and length, then bytes
 * that depend on both. Lengths are those on the wire without FCS.
 */
export const MIN_FRAME = 60;
export const MAX_FRAME = 1514;
const MACS = 12;
/** Locally administered addresses, plus the pair's number. */
const TO = 0x0200_0000_0000;
const FROM = 0x0200_0000_0100;
export const ETHER_TYPE = 0x88b5;
const FILL_AT = 24;

const PATTERN = (() => {
  const bytes = Buffer.alloc(65536);
  let x = 0x2545_f491;
  for (let i = 0; i < bytes.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[i] = x & 0xff;
  }
  return bytes;
})();

const fillStart = (pair: number, sequence: number) =>
  (sequence * 7919 + pair * 104_729) % (65536 - MAX_FRAME);

/** Writes frame `sequence` of `pair` with `length` bytes into `into`, and returns it. */
export function writeFrame(into: Buffer, pair: number, sequence: number, length: number): Buffer {
  const frame = into.subarray(0, length);
  frame.writeUIntBE(TO + pair, 0, 6);
  frame.writeUIntBE(FROM + pair, 6, 6);
  frame.writeUInt16BE(ETHER_TYPE, MACS);
  frame.writeUInt16BE(pair, 14);
  frame.writeUInt32BE(sequence, 16);
  frame.writeUInt32BE(length, 20);
  const start = fillStart(pair, sequence);
  PATTERN.copy(frame, FILL_AT, start, start + length - FILL_AT);
  return frame;
}

/** How a frame comes back: unchanged (the simulated device) or with its MAC addresses exchanged (testpmd macswap). */
export type Echo = "loopback" | "macswap";

/**
 * Checks a frame that came back to `pair`.
 * @returns its sequence number, or what is wrong with it
 */
export function checkFrame(frame: Buffer, pair: number, echo: Echo = "loopback"): number | string {
  if (frame.length < MIN_FRAME) return `frame of ${frame.length} bytes`;
  if (frame.readUInt16BE(MACS) !== ETHER_TYPE) return `EtherType 0x${frame.readUInt16BE(MACS).toString(16)}`;
  const sentOn = frame.readUInt16BE(14);
  const sequence = frame.readUInt32BE(16);
  if (sentOn !== pair) return `frame ${sequence} of pair ${sentOn} arrived on pair ${pair}`;
  const length = frame.readUInt32BE(20);
  if (length !== frame.length) return `frame ${sequence} has ${frame.length} instead of ${length} bytes`;
  const [first, second] = [frame.readUIntBE(0, 6), frame.readUIntBE(6, 6)];
  const expected = [TO + pair, FROM + pair];
  if (echo === "macswap") expected.reverse();
  if (first !== expected[0] || second !== expected[1]) return `frame ${sequence} has other MAC addresses`;
  const start = fillStart(pair, sequence);
  if (PATTERN.compare(frame, FILL_AT, length, start, start + length - FILL_AT) !== 0)
    return `frame ${sequence} has other content`;
  return sequence;
}
