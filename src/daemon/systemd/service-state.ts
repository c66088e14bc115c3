import { monotonicMicroseconds } from "../../hw/ffi/timerfd.ts";
import type { ServiceManager } from "./service-manager.ts";

/** What there is to tell of a device. */
export interface ReportedDevice {
  readonly name: string;
  readonly phase: "starting" | "serving" | "failed" | "ended";
  /** How front-ends find it, such as `socket=/run/vm1.sock`, once it is served. */
  readonly where: string;
  readonly connected: boolean;
  readonly failure: { readonly message: string } | undefined;
}

/** Keeps the service manager informed; what it gets as STATUS stands in `systemctl status`. */
export class ServiceState {
  #phase: "starting" | "ready" | "reloading" | "ended" = "starting";
  #told = "";

  constructor(
    private readonly manager: ServiceManager,
    private readonly devices: readonly ReportedDevice[],
  ) {
    const [only] = devices;
    manager.tell({ STATUS: `opening ${devices.length === 1 ? only!.name : `${devices.length} devices`}` });
  }

  /** All devices are served or have failed. */
  ready(): void {
    if (this.#phase !== "starting") return;
    this.#phase = "ready";
    this.#told = this.#status();
    this.manager.tell({ READY: 1, STATUS: this.#told });
  }

  /** Some of the devices may have changed. */
  changed(): void {
    const status = this.#status();
    if (this.#phase !== "ready" || status === this.#told) return;
    this.#told = status;
    this.manager.tell({ STATUS: status });
  }

  /** The settings are being read again. Before the service is ready, the manager has nobody who waits for that. */
  reloading(): void {
    if (this.#phase !== "ready") return;
    this.#phase = "reloading";
    const since = String(monotonicMicroseconds());
    this.manager.tell({ RELOADING: 1, MONOTONIC_USEC: since, STATUS: "reading the settings again" });
  }

  reloaded(): void {
    if (this.#phase !== "reloading") return;
    this.#phase = "starting";
    this.ready();
  }

  stopping(): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    this.manager.tell({ STOPPING: 1, STATUS: "stopping" });
  }

  /** The process ends with this error. */
  failed(why: string): void {
    this.#phase = "ended";
    this.manager.tell({ STOPPING: 1, STATUS: why });
  }

  #status(): string {
    const { devices } = this;
    const [only] = devices;
    if (devices.length === 1) {
      return `${only!.connected ? "serving a front-end" : "waiting for a front-end"} at ${only!.where}`;
    }
    const served = devices.filter(({ phase }) => phase === "serving");
    const connected = served.filter((device) => device.connected);
    const failed = devices.filter(({ phase }) => phase === "failed");
    return [
      `${served.length} of ${devices.length} devices served, ${connected.length} with a front-end`,
      ...failed.map(({ name, failure }) => `${name} failed: ${failure?.message}`),
    ].join("; ");
  }
}
