import type { Log } from "../hw/log.ts";
import { messageOf } from "../hw/operator-error.ts";
import type { DeviceRequest } from "./device-request.ts";

export interface ReloadOptions {
  /** Reads what is to be served from now on. */
  readonly reread: () => Promise<readonly DeviceRequest[]>;
  readonly apply: (devices: readonly DeviceRequest[]) => void;
  readonly onBegin: () => void;
  readonly onEnd: () => void;
  readonly log: Log;
}

/** Reads the settings again, as often as it is asked to, once at a time. Wrong ones change nothing. */
export class Reload {
  #wanted = false;
  #running = false;

  constructor(private readonly options: ReloadOptions) {}

  async ask(): Promise<void> {
    this.#wanted = true;
    if (this.#running) return;
    this.#running = true;
    const { reread, apply, onBegin, onEnd, log } = this.options;
    while (this.#wanted) {
      this.#wanted = false;
      onBegin();
      try {
        apply(await reread());
        log.info("the settings have been read again", { event: "settings_reread" });
      } catch (error) {
        const reason = messageOf(error);
        log.error(`the settings stay as they are: ${reason}`, { event: "settings_refused", error: reason });
      }
      onEnd();
    }
    this.#running = false;
  }
}
