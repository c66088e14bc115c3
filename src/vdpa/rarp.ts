const ETHERTYPE_RARP = 0x8035;
const ETHERTYPE_IPV4 = 0x0800;
const HARDWARE_ETHERNET = 1;
const REQUEST_REVERSE = 3;
/** The shortest frame on an Ethernet, without its check sequence. */
const FRAME_BYTES = 60;

/**
 * The broadcast frame from which switches learn where an address is now: a RARP request (RFC 903) in which a station
 * asks for its own protocol address. Nobody has to answer.
 * @param mac six bytes
 */
export function rarpRequest(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(new ArrayBuffer(FRAME_BYTES));
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  view.setUint16(12, ETHERTYPE_RARP);
  view.setUint16(14, HARDWARE_ETHERNET);
  view.setUint16(16, ETHERTYPE_IPV4);
  view.setUint8(18, mac.length);
  view.setUint8(19, 4);
  view.setUint16(20, REQUEST_REVERSE);
  // Sender and target are the station itself; the protocol addresses stay 0.
  frame.set(mac, 22);
  frame.set(mac, 32);
  return frame;
}

/** `52:54:00:12:34:56` */
export const macText = (mac: Uint8Array): string =>
  Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
