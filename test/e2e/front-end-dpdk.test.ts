import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectGuest } from "../support/front-end/guest.ts";
import { exchange, trafficProblem } from "../support/front-end/traffic.ts";
import { Testpmd } from "./support/testpmd.ts";

/**
 * The front-end of these tests against a back-end that nobody here wrote: DPDK's vhost port, which sends every frame
 * back with its MAC addresses exchanged. What it then finds at vdpactl is vdpactl's doing.
 */
const directory = mkdtempSync(join(tmpdir(), "vdpactl-dpdk-"));
const socketPath = join(directory, "vhost.sock");
let testpmd: Testpmd;
beforeAll(async () => {
  testpmd = await Testpmd.start({
    vdev: `net_vhost0,iface=${socketPath},queues=2`,
    queues: 2,
    forward: "macswap",
  });
}, 120_000);
afterAll(async () => {
  await testpmd.stop();
  rmSync(directory, { recursive: true });
}, 60_000);

for (const like of ["qemu", "dpdk"] as const) {
  describe(`in the order of ${like}`, () => {
    for (const packed of [false, true]) {
      for (const eventIdx of [false, true]) {
        for (const indirect of [false, true]) {
          const traits = [packed ? "packed" : "split", eventIdx && "event idx", indirect && "indirect"];
          test(traits.filter(Boolean).join(", "), async () => {
            const guest = await connectGuest({ socketPath, pairs: 2, like, packed, eventIdx, indirect });
            try {
              const reports = await exchange(guest, { frames: 2000, echo: "macswap" });
              expect(trafficProblem(reports)).toBeUndefined();
              await guest.stop();
            } finally {
              guest.close();
            }
          }, 60_000);
        }
      }
    }
  });
}
