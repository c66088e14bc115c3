import { describe, expect, test } from "bun:test";
import type { ControlQueue } from "../../../src/hw/virtio/control-queue.ts";
import { NetControl } from "../../../src/vdpa/net-control.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** A control queue that notes its commands. */
function started(options = { multiqueue: true, rxMode: true }) {
  const commands: string[] = [];
  const queue = {
    setQueuePairs: (pairs: number) => commands.push(`pairs ${pairs}`),
    setRxMode: (mode: object) => commands.push(`rx ${JSON.stringify(mode)}`),
  } as unknown as ControlQueue;
  const control = new NetControl(silent);
  control.start(queue, options);
  return { control, commands, queue };
}

describe("pairs", () => {
  test("the device is told to receive everything", () => {
    expect(started().commands).toEqual(['rx {"promisc":true,"allmulti":true}']);
    expect(started({ multiqueue: true, rxMode: false }).commands).toEqual([]);
  });

  test("a pair counts once both of its rings are enabled, with one command", () => {
    const { control, commands } = started({ multiqueue: true, rxMode: false });
    control.setEnabled([
      [0, true],
      [1, true],
      [2, true],
    ]);
    expect(commands).toEqual([]);
    control.setEnabled([[3, true]]);
    expect(commands).toEqual(["pairs 2"]);
    control.setEnabled([[2, false]]);
    expect(commands).toEqual(["pairs 2", "pairs 1"]);
    expect(control.pairs).toBe(1);
  });

  test("only pairs without a hole before them are active", () => {
    const { control, commands } = started({ multiqueue: true, rxMode: false });
    control.setEnabled([
      [0, true],
      [1, true],
      [4, true],
      [5, true],
    ]);
    expect(control.pairs).toBe(1);
    control.setEnabled([
      [2, true],
      [3, true],
    ]);
    expect(commands).toEqual(["pairs 3"]);
  });

  test("the first pair can not be switched off, and the others do not stop with it", () => {
    const { control, commands } = started({ multiqueue: true, rxMode: false });
    const twoPairs = [0, 1, 2, 3].map((index) => [index, true] as const);
    control.setEnabled(twoPairs);
    control.setEnabled([[0, false]]);
    control.setEnabled([[1, false]]);
    control.setEnabled([
      [0, true],
      [1, true],
    ]);
    expect(commands).toEqual(["pairs 2"]);
    control.setEnabled([[0, false]]);
    control.setEnabled([[2, false]]);
    expect(commands).toEqual(["pairs 2", "pairs 1"]);
  });

  test("without MQ nothing is commanded", () => {
    const { control, commands } = started({ multiqueue: false, rxMode: false });
    control.setEnabled([
      [0, true],
      [1, true],
      [2, true],
      [3, true],
    ]);
    expect(commands).toEqual([]);
    expect(control.pairs).toBe(1);
  });

  test("a restart begins with one pair again, and repeats what is needed", () => {
    const { control, commands, queue } = started({ multiqueue: true, rxMode: false });
    const twoPairs = [0, 1, 2, 3].map((index) => [index, true] as const);
    control.setEnabled(twoPairs);
    control.stop();
    control.start(queue, { multiqueue: true, rxMode: false });
    expect(control.pairs).toBe(1);
    control.setEnabled(twoPairs);
    expect(commands).toEqual(["pairs 2", "pairs 2"]);
  });
});
