import { messageOf, OperatorError } from "../../hw/operator-error.ts";
import { NotCarriedOut } from "../handler-row.ts";
import type { Session } from "../session.ts";

/** Least MTU that virtio-net allows (virtio 1.3 §5.1.4.1). */
const MTU_MIN = 68;

/** The guest learns its MTU from the front-end; here it is only checked against what the device can carry. */
export function netSetMtu(session: Session, { u64 }: { u64: bigint }): void {
  const { maxMtu } = session.device;
  if (u64 < BigInt(MTU_MIN) || u64 > BigInt(maxMtu)) {
    throw new OperatorError(`MTU ${u64}`, {
      why: `this device allows ${MTU_MIN} to ${maxMtu}`,
      kind: "protocol",
    });
  }
  session.mtu = Number(u64);
}

/** Decodes SEND_RARP: the address is the first six bytes of the payload's eight. */
export const readMac = (payload: Uint8Array): Uint8Array => payload.slice(0, 6);

/** Front-ends send this after a migration where the guest can not announce itself, and QEMU asks for no answer. */
export function sendRarp(session: Session, mac: Uint8Array): void {
  // Bit 0 of the first byte marks a group of stations; nobody sends from one (IEEE 802.3 §3.2.3), nor from 0.
  if ((mac[0]! & 1) !== 0 || mac.every((byte) => byte === 0)) {
    throw new OperatorError(`MAC address ${Buffer.from(mac).toString("hex")}`, {
      why: "it is no single station's",
      kind: "protocol",
    });
  }
  try {
    session.announce(mac);
  } catch (error) {
    throw new NotCarriedOut("the guest was not announced", { why: messageOf(error), cause: error });
  }
}
