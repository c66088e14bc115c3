import type { ControlClient } from "../../daemon/control/control-client.ts";
import type { DeviceState } from "../../daemon/state/device-state.ts";
import { OperatorError } from "../../hw/operator-error.ts";
import { connectDaemons, type DeviceChoice, isChosen, notServed, stateOf } from "../control/daemons.ts";

/** The devices that are meant, in all daemons that are found. Daemons that end are left out from then on. */
export class Collector {
  private constructor(
    private readonly choice: DeviceChoice,
    private clients: readonly ControlClient[],
  ) {}

  static async connect(choice: DeviceChoice): Promise<Collector> {
    return new Collector(choice, await connectDaemons(choice));
  }

  /** @throws OperatorError when nothing that is meant is served (any more) */
  async collect(options: { rates: boolean; signal: AbortSignal }): Promise<DeviceState[]> {
    const all: DeviceState[] = [];
    const living: ControlClient[] = [];
    for (const client of this.clients) {
      try {
        all.push(...(await stateOf(client, options)));
        living.push(client);
      } catch (error) {
        if (options.signal.aborted || !(error instanceof OperatorError)) throw error;
        client.close();
      }
    }
    this.clients = living;
    const chosen = all.filter((state) => isChosen(state, this.choice));
    if (chosen.length === 0) throw notServed(this.choice, all);
    return chosen;
  }

  close(): void {
    for (const client of this.clients) client.close();
  }
}
