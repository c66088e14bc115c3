// A unit of the VM's systemd.
import { attempt, command } from "./command.ts";
import { until } from "./until.ts";

export class Unit {
  constructor(readonly name: string) {}

  start(): Promise<string> {
    return command("systemctl", "start", this.name);
  }

  stop(): Promise<string> {
    return command("systemctl", "stop", this.name);
  }

  /** A property as `systemctl show` prints it; empty when the unit has no such thing. */
  async show(property: string): Promise<string> {
    return (await command("systemctl", "show", "--value", "--property", property, this.name)).trim();
  }

  /** Its state once it is none of those that pass. */
  settled(): Promise<string> {
    return until(`${this.name} to settle`, async () => {
      const state = await this.show("ActiveState");
      return !/^(de)?activating$|^reloading$/.test(state) && state;
    });
  }

  async pid(): Promise<number> {
    return Number(await this.show("MainPID"));
  }

  /** Waits until it is active with another process than `pid`. */
  async replaced(pid: number): Promise<void> {
    await until(`${this.name} to run in another process`, async () => {
      const now = await this.pid();
      return now !== 0 && now !== pid && (await this.show("ActiveState")) === "active";
    });
  }

  /** What it and systemd have written about it to the journal. */
  async journal(): Promise<string> {
    return (await attempt(["journalctl", "--no-pager", "-o", "cat", "-u", this.name])).stdout;
  }
}
