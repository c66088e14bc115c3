import { afterEach, beforeEach, expect, test } from "bun:test";
import { parseNodeOwner } from "../../../../src/hw/pci/node-owner.ts";
import { FakeHost } from "./fake-host.ts";

let host: FakeHost;
const parse = (text: string) => parseNodeOwner(text, `${host.root}/etc`);
beforeEach(() => {
  host = new FakeHost();
  host.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nvdpa:x:990:991::/:/bin/false\n");
  host.file("etc/group", "root:x:0:\nkvm:x:78:vdpa\n");
});
afterEach(() => host.remove());

test.each([
  ["vdpa:kvm", { uid: 990, gid: 78 }],
  ["vdpa", { uid: 990, gid: undefined }],
  ["vdpa:", { uid: 990, gid: undefined }],
  [":kvm", { uid: undefined, gid: 78 }],
  ["1000:1001", { uid: 1000, gid: 1001 }],
])("%p", (text, owner) => {
  expect(parse(text)).toEqual(owner);
});

test.each(["", ":", "no-such-user-here", "vdpa:no-such-group-here", "vdpa:kvm:x", "4294967295"])(
  "%p is refused",
  (text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ kind: "usage" }));
  },
);
