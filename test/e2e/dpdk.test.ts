import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MigrationRecord } from "../../src/commands/migrate/record.ts";
import { Daemon, ONCE_MS } from "./support/daemon.ts";
import { Testpmd } from "./support/testpmd.ts";

/**
 * A front-end that nobody here wrote: DPDK's virtio-user port. It sends bursts, forwards every frame that comes back
 * for as long as we let it, and at the end receives what is still on its way: then both counts must be equal.
 */
const cleanup: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

const ROUNDS = 20_000;
/** Times that rings go to the relay and back; a split ring returns only once a lap of 65536 entries is over. */
const SWITCHES = { packed: 10, split: 1 };

for (const packed of [false, true]) {
  for (const queues of [1, 2]) {
    describe(`${packed ? "packed" : "split"}, ${queues} queue pair${queues > 1 ? "s" : ""}`, () => {
      test("every frame sent is received", async () => {
        const daemon = await Daemon.start();
        cleanup.push(() => daemon.dispose());
        const traits = `path=${daemon.socketPath},queues=${queues},queue_size=256,packed_vq=${packed ? 1 : 0}`;
        const testpmd = await Testpmd.start({
          vdev: `net_virtio_user0,${traits}`,
          queues,
          forward: "io",
          start: "start tx_first 2",
        });
        cleanup.push(() => testpmd.stop());
        await countUp(testpmd, ROUNDS);
        await testpmd.command("stop");
        await testpmd.command("set fwd rxonly");
        await testpmd.command("start");
        const { rx, tx } = await allBack(testpmd);
        expect(rx).toBe(tx);
        expect(rx).toBeGreaterThan(ROUNDS);
        expect(await testpmd.stop()).toBe(0);
        await daemon.logged(/front-end disconnected/);
        expect(await daemon.stop()).toBe(0);
      }, 120_000);
    });
  }
}

for (const layout of ["packed", "split"] as const) {
  test(`${layout}: rings go to the relay and back while frames go round, and none is lost`, async () => {
    const daemon = await Daemon.start();
    cleanup.push(() => daemon.dispose());
    const traits = `path=${daemon.socketPath},queues=1,queue_size=256,packed_vq=${layout === "packed" ? 1 : 0}`;
    const vdev = `net_virtio_user0,${traits}`;
    const testpmd = await Testpmd.start({ vdev, queues: 1, forward: "io", start: "start tx_first 1" });
    cleanup.push(() => testpmd.stop());
    for (let round = 0; round < SWITCHES[layout]; round++) {
      for (const [mode, ...command] of [
        ["relay", "prepare"],
        ["direct", "cancel", "--timeout", "60"],
      ] as const) {
        const { queues } = await daemon.askJson<MigrationRecord>("migrate", ...command);
        expect(queues.map((queue) => queue.mode)).toEqual([mode, mode]);
        await countUp(testpmd, (await testpmd.stats()).rx + 64);
      }
    }
    await testpmd.command("stop");
    await testpmd.command("set fwd rxonly");
    await testpmd.command("start");
    const { rx, tx } = await allBack(testpmd);
    expect(rx).toBe(tx);
    expect(await testpmd.stop()).toBe(0);
    expect(await daemon.stop()).toBe(0);
  }, 180_000);
}

/** Waits until the port has received this many frames. */
async function countUp(testpmd: Testpmd, frames: number): Promise<void> {
  const deadline = performance.now() + 3 * ONCE_MS;
  for (;;) {
    const { rx } = await testpmd.stats();
    if (rx > frames) return;
    if (performance.now() > deadline) throw new Error(`only ${rx} frames came back`);
    await Bun.sleep(20);
  }
}

/** The counts once they are equal; unequal ones when frames stay away. */
async function allBack(testpmd: Testpmd) {
  let last = await testpmd.stats();
  const deadline = performance.now() + ONCE_MS;
  while (last.rx !== last.tx && performance.now() < deadline) {
    await Bun.sleep(20);
    last = await testpmd.stats();
  }
  return last;
}

test("testpmd as a server, vdpactl as a client, and a second testpmd after the first", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vdpactl-dpdk-"));
  cleanup.push(async () => rmSync(directory, { recursive: true }));
  const path = join(directory, "vhost.sock");
  const daemon = await Daemon.start({ meeting: ["--client", "--socket", path] });
  cleanup.push(() => daemon.dispose());
  for (let round = 0; round < 2; round++) {
    const testpmd = await Testpmd.start({
      vdev: `net_virtio_user0,path=${path},queues=1,queue_size=256,server=1`,
      queues: 1,
      forward: "io",
      start: "start tx_first 1",
    });
    await countUp(testpmd, 1000);
    expect(await testpmd.stop()).toBe(0);
    daemon.assertAlive();
  }
  expect(await daemon.stop()).toBe(0);
}, 120_000);
