import { expect, test } from "bun:test";
import fc from "fast-check";
import { findCapability } from "../../../../src/hw/vfio/capability-chain.ts";
import { vfio_info_cap_header } from "../../../../src/hw/vfio/structs.ts";

function chain(...links: [at: number, id: number, next: number][]): Uint8Array {
  const info = new Uint8Array(64);
  for (const [at, id, next] of links) vfio_info_cap_header.write(info, { id, version: 1, next }, at);
  return info;
}

test("follows the chain to the capability", () => {
  const info = chain([16, 3, 40], [40, 1, 0]);
  expect(findCapability(info, 16, 1)?.byteOffset).toBe(40);
  expect(findCapability(info, 16, 2)).toBeUndefined();
  expect(findCapability(info, 0, 3)).toBeUndefined();
});

test("a loop ends", () => {
  expect(findCapability(chain([16, 3, 40], [40, 4, 16]), 16, 1)).toBeUndefined();
});

test("an offset outside of the buffer ends it", () => {
  expect(findCapability(chain([16, 3, 60]), 16, 1)).toBeUndefined();
  expect(findCapability(chain([16, 3, 0xffffffff]), 16, 1)).toBeUndefined();
});

test("any bytes at all are survived", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 128 }), fc.nat(0xffffffff), fc.nat(4), (info, first, id) => {
      const found = findCapability(info, first, id);
      if (found) expect(vfio_info_cap_header.read(found).id).toBe(id);
    }),
  );
});
