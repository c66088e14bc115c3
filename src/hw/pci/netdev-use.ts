import { join } from "node:path";
import { type Host, listDirectory, readAttribute, readLinkName, readNumber } from "./host.ts";
import { ipv6Text } from "./netdev-addresses.ts";

const IFF_UP = 1;

/** What a network interface is used for. */
export function netdevUses(netdev: string, host: Host): string[] {
  const path = join(host.sys, "class/net", netdev);
  return [
    ...routes(netdev, host),
    ...addressesWhileUp(netdev, path, host),
    ...master(netdev, path),
    ...listDirectory(path)
      .filter((entry) => entry.startsWith("upper_"))
      .map((entry) => entry.slice("upper_".length))
      .filter((upper) => upper !== readLinkName(join(path, "master")))
      .map((upper) => `${upper} is built on ${netdev}`),
  ];
}

function addressesWhileUp(netdev: string, path: string, host: Host): string[] {
  if (!((readNumber(join(path, "flags")) ?? 0) & IFF_UP)) return [];
  const addresses = host.addresses(netdev);
  return addresses.length > 0 ? [`${netdev} is up with ${addresses.join(", ")}`] : [];
}

function master(netdev: string, path: string): string[] {
  const name = readLinkName(join(path, "master"));
  const entries = listDirectory(path);
  if (name === undefined) return [];
  if (entries.includes("brport")) return [`${netdev} is a port of bridge ${name}`];
  if (entries.includes("bonding_slave")) return [`${netdev} is a part of bond ${name}`];
  if (name === "ovs-system") return [`${netdev} is a port of an Open vSwitch bridge`];
  return [`${netdev} belongs to ${name}`];
}

function routes(netdev: string, host: Host): string[] {
  const found = [...routes4(netdev, host), ...routes6(netdev, host)];
  const shown = found.slice(0, 3).join(", ") + (found.length > 3 ? ` and ${found.length - 3} more` : "");
  return found.length > 0
    ? [`${netdev} carries the ${found.length === 1 ? "route" : "routes"} ${shown}`]
    : [];
}

/** /proc/net/route: interface, destination and mask as hexadecimal in memory order. */
function routes4(netdev: string, host: Host): string[] {
  return tableRows(join(host.proc, "net/route"))
    .filter(([name]) => name === netdev)
    .map((row) => {
      const [destination, mask] = [hexNumber(row[1]), hexNumber(row[7])];
      if (destination === 0 && mask === 0) return "default (IPv4)";
      const octets = [0, 8, 16, 24].map((shift) => (destination >>> shift) & 0xff).join(".");
      return `${octets}/${onesIn(mask)}`;
    });
}

/** /proc/net/ipv6_route: destination and prefix length first, the interface last. */
function routes6(netdev: string, host: Host): string[] {
  return tableRows(join(host.proc, "net/ipv6_route"))
    .filter((row) => row.at(-1) === netdev)
    .filter(([destination = ""]) => !/^(fe[89ab]|ff)/.test(destination))
    .map(([destination = "", prefix]) =>
      /^0+$/.test(destination) && hexNumber(prefix) === 0
        ? "default (IPv6)"
        : `${ipv6Text(destination)}/${hexNumber(prefix)}`,
    );
}

const tableRows = (path: string) =>
  (readAttribute(path) ?? "").split("\n").map((line) => line.trim().split(/\s+/));
const hexNumber = (text: string | undefined) => Number.parseInt(text ?? "0", 16);
const onesIn = (mask: number) => (mask >>> 0).toString(2).replaceAll("0", "").length;
