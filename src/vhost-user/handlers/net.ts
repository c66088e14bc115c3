import { OperatorError } from "../../hw/operator-error.ts";
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
