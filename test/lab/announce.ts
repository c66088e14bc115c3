// A front-end asks that its guest be announced (SEND_RARP), as QEMU does after a migration of a guest that can not do
// it itself: the broadcast leaves the real NIC while the guest's transmit ring is away for a moment.
import { connectGuest } from "../support/front-end/guest.ts";
import { Request } from "../support/front-end/protocol.ts";
import type { Lab } from "./harness/lab.ts";
import { Peer } from "./harness/network.ts";
import { Program } from "./harness/program.ts";
import { scenario } from "./harness/scenario.ts";
import { serve } from "./harness/vdpactl.ts";
import { loadVfio } from "./harness/vfio.ts";

const ETHERTYPE_RARP = 0x8035;
/** QEMU's number. */
const TIMES = 5;
const PAYLOAD = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0, 0);
const FRAME = `${"f".repeat(12)}52540012345680350001080006040003${"52540012345600000000".repeat(2)}`.padEnd(
  120,
  "0",
);

/** Prints `listening`, then each frame of this kind as one line of hexadecimal digits. */
const SNIFFER = `
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(${ETHERTYPE_RARP}))
print("listening", flush=True)
while True:
    print(s.recv(2048).hex(), flush=True)
`;

async function announce(lab: Lab, peer: Peer, packed: boolean): Promise<void> {
  const name = (what: string) => `${packed ? "packed" : "split"}: ${what}`;
  const device = lab.device("near");
  const socketPath = `/tmp/announce-${packed}.sock`;
  const daemon = await serve({ device, socket: socketPath });
  const sniffer = new Program(`sniffer-${packed}`, peer.argv("python3", "-c", SNIFFER));
  await sniffer.stdout.expect(/^listening\n/m);
  const guest = await connectGuest({ socketPath, packed });
  const acks: bigint[] = [];
  for (let i = 0; i < TIMES; i++) acks.push(await guest.fe.ack(Request.SEND_RARP, PAYLOAD));
  lab.equal(name("announcements acknowledged"), acks.filter((ack) => ack === 0n).length, TIMES);
  await sniffer.stdout.expect(new RegExp(`^(${FRAME}\\n){${TIMES}}`, "m"));
  const frames = sniffer.stdout.text.split("\n").slice(1, -1);
  lab.equal(name("frames on the wire, each right"), frames, Array(TIMES).fill(FRAME));
  await guest.stop();
  guest.close();
  await sniffer.stop();
  lab.equal(name("vdpactl ends with 0"), await daemon.stop(), 0);
}

export default scenario({
  summary: "SEND_RARP on a real NIC: the guest's announcement reaches the wire, split and packed",
  usesVdpactl: true,
  vm: {
    devices: [
      { kind: "nic", name: "near", wire: "w", packed: true },
      { kind: "nic", name: "far", wire: "w" },
    ],
  },
  async run(lab) {
    await loadVfio();
    const peer = await Peer.create("far", lab.device("far"), "10.0.0.1");
    await lab.device("near").handTo("vfio-pci");
    for (const packed of [false, true]) await announce(lab, peer, packed);
  },
});
