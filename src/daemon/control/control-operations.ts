import { OperatorError } from "../../hw/operator-error.ts";
import type { CommandChannel } from "../command-channel.ts";
import { deviceState, type ShownDevice } from "../state/device-state.ts";
import type { ControlRequest } from "./protocol.ts";

/** A device of this process, with the way to the thread that serves it. */
export interface ControlledDevice extends ShownDevice {
  readonly channel: CommandChannel;
}

/** How long the serving thread may take to answer. */
const LIMIT_MS = 30_000;

/** Carries out what clients of the control socket ask for. */
export class ControlOperations {
  constructor(private readonly devices: readonly ControlledDevice[]) {}

  /** @throws OperatorError, the serving thread's or one that says why it was not asked */
  async carryOut(request: ControlRequest): Promise<unknown> {
    switch (request.op) {
      case "state":
        return { devices: this.devices.map(deviceState) };
      case "hold": {
        const device = this.#find(request.device);
        await inTime(device.channel.ask({ op: "hold", relay: request.relay }), device.name);
        return deviceState(device);
      }
    }
  }

  #find(name: string | undefined): ControlledDevice {
    const found = this.devices.filter((device) => name === undefined || device.name === name);
    if (found.length === 1) return found[0]!;
    const all = this.devices.map((device) => device.name).join(", ");
    throw new OperatorError(name === undefined ? "which device is meant?" : `${name} is not served here`, {
      why: `this daemon serves ${all}`,
      kind: "usage",
    });
  }
}

/** The serving thread carries a command out even when nobody waits for the answer any more. */
async function inTime<T>(answer: Promise<T>, device: string): Promise<T> {
  let late: ReturnType<typeof setTimeout> | undefined;
  try {
    return await Promise.race([
      answer,
      new Promise<never>((_resolve, reject) => {
        late = setTimeout(() => {
          reject(
            new OperatorError(`the thread that serves ${device} did not answer within ${LIMIT_MS / 1000} s`, {
              why: "it is busy with something else, for example with mapping a guest's memory; it will carry this out later",
            }),
          );
        }, LIMIT_MS);
      }),
    ]);
  } finally {
    clearTimeout(late);
  }
}
