import { afterEach, beforeEach, expect, test } from "bun:test";
import { ipv6Text, netdevAddresses } from "../../../../src/hw/pci/netdev-addresses.ts";
import { FakeHost } from "./fake-host.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

test("IPv4 comes from the kernel, IPv6 without link-local from its table", () => {
  host.file(
    "if_inet6",
    "00000000000000000000000000000001 01 80 10 80       lo\n" +
      "fe800000000000000000000000000001 01 40 20 80       lo\n" +
      "20010db8000000000000000000000005 02 40 00 80     eth9\n",
  );
  const table = `${host.root}/if_inet6`;
  expect(netdevAddresses("lo", table)).toEqual(["127.0.0.1", "::1/128"]);
  expect(netdevAddresses("eth9", table)).toEqual(["2001:db8::5/64"]);
});

test("an interface that is not there, in a kernel without IPv6", () => {
  expect(netdevAddresses("no-such-if", `${host.root}/missing`)).toEqual([]);
});

test("IPv6 addresses are written short", () => {
  expect(ipv6Text(`20010db8${"0".repeat(23)}1`)).toBe("2001:db8::1");
  expect(ipv6Text("0".repeat(32))).toBe("::");
});
