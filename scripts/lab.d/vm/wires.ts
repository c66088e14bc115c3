// What NICs are plugged into. All of it lives in QEMU's own network namespace and vanishes with it.
//   alone            nothing answers
//   one pair         two NICs joined by datagram sockets
//   more pairs       taps (the only back-end of QEMU with several queues), bridged
import { type DeviceShape, type NicShape, pairsOf } from "../../../test/lab/harness/shape.ts";
import { LabError } from "../progress.ts";

export interface Wiring {
  /** QEMU's -netdev values; device number i uses netdev "n<i>". */
  netdevs: string[];
  /** Shell commands that prepare the namespace. */
  setup: string[];
}

interface Plug {
  index: number;
  nic: NicShape;
}

const FIRST_PORT = 40000;

export function wiring(devices: DeviceShape[]): Wiring {
  const wires = new Map<string, Plug[]>();
  devices.forEach((nic, index) => {
    if (nic.kind !== "nic") return;
    const name = nic.wire ?? `alone ${index}`;
    wires.set(name, [...(wires.get(name) ?? []), { index, nic }]);
  });
  const result: Wiring = { netdevs: [], setup: ["ip link set lo up"] };
  let number = 0;
  for (const plugs of wires.values()) {
    if (plugs.some(({ nic }) => pairsOf(nic) > 1) || plugs.length > 2) bridge(plugs, number, result);
    else if (plugs.length === 2) datagrams(plugs as [Plug, Plug], result);
    else silent(plugs, result);
    number += 1;
  }
  return result;
}

function datagrams([left, right]: [Plug, Plug], result: Wiring): void {
  for (const [own, other] of [
    [left, right],
    [right, left],
  ] as const) {
    const end = (side: string, index: number) =>
      `${side}.type=inet,${side}.host=127.0.0.1,${side}.port=${FIRST_PORT + index}`;
    result.netdevs.push(`dgram,id=n${own.index},${end("local", own.index)},${end("remote", other.index)}`);
  }
}

function bridge(plugs: Plug[], number: number, result: Wiring): void {
  const name = `wire${number}`;
  // IPv6 would let the kernel outside speak on the wire, and the frames counted would not be the scenario's.
  result.setup.push("for c in all default; do echo 1 > /proc/sys/net/ipv6/conf/$c/disable_ipv6; done");
  result.setup.push(`ip link add ${name} type bridge stp_state 0 mcast_snooping 0 forward_delay 0`);
  for (const { index, nic } of plugs) {
    const queues = pairsOf(nic);
    result.setup.push(`ip tuntap add t${index} mode tap${queues > 1 ? " multi_queue" : ""}`);
    result.setup.push(`ip link set t${index} master ${name} up`);
    const several = queues > 1 ? `,queues=${queues}` : "";
    result.netdevs.push(`tap,id=n${index},ifname=t${index},script=no,downscript=no,vhost=off${several}`);
  }
  result.setup.push(`ip link set ${name} up`);
}

function silent(plugs: Plug[], result: Wiring): void {
  const [plug] = plugs;
  if (plug === undefined) throw new LabError("a wire without a NIC");
  result.netdevs.push(`user,id=n${plug.index},restrict=on,ipv6=off`);
}
