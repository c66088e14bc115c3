import { OperatorError } from "../../hw/operator-error.ts";
import type { CommandChannel } from "../command-channel.ts";
import { type DeviceState, deviceState, type SampledDevice } from "../state/device-state.ts";
import type { ControlRequest } from "./protocol.ts";

/** A device of this process, with the way to the thread that serves it. */
export interface ControlledDevice extends SampledDevice {
  readonly ask: CommandChannel["ask"];
}

/** How long the serving thread may take to answer. */
const LIMIT_MS = 30_000;
/** A move maps a perhaps large guest's memory for the other device first. */
const MOVE_LIMIT_MS = 3_600_000;

/** Carries out what clients of the control socket ask for. */
export class ControlOperations {
  constructor(private readonly devices: readonly ControlledDevice[]) {}

  /** @throws OperatorError, the serving thread's or one that says why it was not asked */
  async carryOut(request: ControlRequest): Promise<unknown> {
    switch (request.op) {
      case "move": {
        const { device, now } = this.#find(request.device);
        return await inTime(device.ask({ op: "move", bdf: request.to }), now, MOVE_LIMIT_MS);
      }
      case "state":
        if (request.rates) this.keepSampling();
        return { devices: this.states() };
      case "hold": {
        const { device, now } = this.#find(request.device);
        await inTime(device.ask({ op: "hold", relay: request.relay }), now, LIMIT_MS);
        return deviceState(device);
      }
    }
  }

  /** Has all rings sampled now and from now on, for some seconds or for ever. */
  keepSampling(forEver = false): void {
    for (const { sampler } of this.devices) sampler.keep(forEver);
  }

  states(): DeviceState[] {
    return this.devices.map(deviceState);
  }

  #find(name: string | undefined): { device: ControlledDevice; now: string } {
    const all = this.devices.map((device) => ({ device, now: deviceState(device).device }));
    const found = all.filter(({ now }) => name === undefined || now === name);
    if (found.length === 1) return found[0]!;
    throw new OperatorError(name === undefined ? "which device is meant?" : `${name} is not served here`, {
      why: `this daemon serves ${all.map(({ now }) => now).join(", ")}`,
      kind: "usage",
    });
  }
}

/** The serving thread carries a command out even when nobody waits for the answer any more. */
async function inTime<T>(answer: Promise<T>, device: string, limitMs: number): Promise<T> {
  let late: ReturnType<typeof setTimeout> | undefined;
  try {
    return await Promise.race([
      answer,
      new Promise<never>((_resolve, reject) => {
        late = setTimeout(() => {
          reject(
            new OperatorError(`the thread that serves ${device} did not answer within ${limitMs / 1000} s`, {
              why: "it is busy with something else, for example with mapping a guest's memory; it will carry this out later",
            }),
          );
        }, limitMs);
      }),
    ]);
  } finally {
    clearTimeout(late);
  }
}
