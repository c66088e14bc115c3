import { expect, test } from "bun:test";
import * as messages from "../../../src/vhost-user/messages.ts";
import { join, u32s, u64s } from "./support/wire.ts";

test.each([
  ["header", messages.vhost_user_header, u32s(12, 9, 8), { request: 12, flags: 9, size: 8 }],
  ["u64", messages.vhost_user_u64, u64s(1n << 63n), { u64: 1n << 63n }],
  ["vring state", messages.vhost_vring_state, u32s(3, 256), { index: 3, num: 256 }],
  [
    "vring addresses (used before avail)",
    messages.vhost_vring_addr,
    join(u32s(1, 1), u64s(2n, 3n, 4n, 5n)),
    { index: 1, flags: 1, desc_user_addr: 2n, used_user_addr: 3n, avail_user_addr: 4n, log_guest_addr: 5n },
  ],
  [
    "memory region",
    messages.vhost_user_memory_region,
    u64s(1n, 2n, 3n, 4n),
    { guest_phys_addr: 1n, memory_size: 2n, userspace_addr: 3n, mmap_offset: 4n },
  ],
  ["memory table head", messages.vhost_user_memory, u32s(8, 0), { nregions: 8, padding: 0 }],
  [
    "single region",
    messages.vhost_user_mem_reg_msg,
    u64s(0n, 1n, 2n, 3n, 4n),
    { padding: 0n, region: { guest_phys_addr: 1n, memory_size: 2n, userspace_addr: 3n, mmap_offset: 4n } },
  ],
  ["log", messages.vhost_user_log, u64s(1n, 2n), { mmap_size: 1n, mmap_offset: 2n }],
  ["config head", messages.vhost_user_config, u32s(1, 2, 3), { offset: 1, size: 2, flags: 3 }],
  ["vring area", messages.vhost_user_vring_area, u64s(1n, 2n, 3n), { u64: 1n, size: 2n, offset: 3n }],
  ["state transfer", messages.vhost_user_transfer_device_state, u32s(1, 0), { direction: 1, phase: 0 }],
  [
    "IOTLB message",
    messages.vhost_iotlb_msg,
    join(u64s(1n, 2n, 3n), u32s(0x0203, 0)),
    { iova: 1n, size: 2n, uaddr: 3n, perm: 3, type: 2 },
  ],
  [
    "inflight",
    messages.vhost_user_inflight,
    join(u64s(1n, 2n), u32s(0x0004_0003, 0)),
    { mmap_size: 1n, mmap_offset: 2n, num_queues: 3, queue_size: 4 },
  ],
])("%s", (_name, struct, bytes, values) => {
  expect(struct.size).toBe(bytes.length);
  expect(struct.read(bytes) as unknown).toEqual(values);
  expect(struct.alloc(values as never)).toEqual(bytes);
});
