import { expect, test } from "bun:test";
import { deviceGone, deviceStuck } from "../../../../src/hw/virtio/device-error.ts";
import { FakeModernDevice } from "./fake-modern-device.ts";

const named = (name: string) => Object.assign(Object.create(new FakeModernDevice()), { name });

test("a device that hangs is to be reset by its address", () => {
  expect(deviceStuck(named("0000:00:09.0"), "the reset", 5000)).toMatchObject({
    what: "0000:00:09.0: the reset did not complete",
    why: "the device was given 5 s",
    remedy: "reset it: vdpactl bind --unbind --pci 0000:00:09.0, then bind it again",
  });
});

test("a simulated device has no address, so that no command is recommended that needs one", () => {
  expect(deviceStuck(named("sim0"), "the reset", 5000).remedy).toBeUndefined();
  expect(deviceGone(named("sim")).remedy).toBeUndefined();
});
