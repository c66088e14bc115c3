import { afterEach, beforeEach, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { bindSystem } from "../../../../src/hw/pci/bind-system.ts";
import { FakeHost } from "./fake-host.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.remove());

test("values are written with a line end, also the empty one", async () => {
  host.file("attribute", "");
  await bindSystem.write({ path: `${host.root}/attribute`, value: "vfio-pci" });
  expect(host.read("attribute")).toBe("vfio-pci\n");
  await bindSystem.write({ path: `${host.root}/attribute`, value: "" });
  expect(host.read("attribute")).toBe("\n");
});

test("a write that may block is done by another process", async () => {
  host.file("un bind", "");
  await bindSystem.write({ path: `${host.root}/un bind`, value: "0000:00:04.0", mayBlock: true });
  expect(host.read("un bind")).toBe("0000:00:04.0\n");
});

test.each([true, false])("a refused write tells value, path and reason (may block: %p)", async (mayBlock) => {
  const write = bindSystem.write({ path: `${host.root}/missing/unbind`, value: "0000:00:04.0", mayBlock });
  await expect(write).rejects.toMatchObject({
    what: `the kernel refused "0000:00:04.0" in ${host.root}/missing/unbind`,
    why: expect.stringMatching(/no such file|nonexistent/i),
  });
});

test("a module that can not be loaded", () => {
  expect(() => bindSystem.modprobe("no-such-module-here")).toThrow(
    expect.objectContaining({ kind: "not-ready", what: "cannot load the kernel module no-such-module-here" }),
  );
});

test("a node's owner stays where nothing else is asked", async () => {
  host.file("dev/vfio/7", "");
  const { uid, gid } = statSync(`${host.dev}/vfio/7`);
  await bindSystem.chown(`${host.dev}/vfio/7`, { uid: undefined, gid: undefined });
  expect(statSync(`${host.dev}/vfio/7`)).toMatchObject({ uid, gid });
});

test("a node that appears a moment later is waited for", async () => {
  const { uid, gid } = statSync(host.root);
  const done = bindSystem.chown(`${host.dev}/vfio/7`, { uid, gid });
  host.file("dev/vfio/7", "");
  await done;
  expect(statSync(`${host.dev}/vfio/7`)).toMatchObject({ uid, gid });
});
