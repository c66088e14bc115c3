import type { LogSettings } from "../cli/log.ts";
import type { Log } from "../hw/log.ts";
import { OperatorError } from "../hw/operator-error.ts";
import { deviceChanges } from "./device-changes.ts";
import { deviceLog } from "./device-log.ts";
import type { DeviceRequest } from "./device-request.ts";
import { DeviceService } from "./device-service.ts";
import { giveUpSocket } from "./kept-socket.ts";
import type { ServiceManager } from "./systemd/service-manager.ts";

/** How long a stop may take before the process ends all the same; the kernel then frees and resets the devices. */
const STOP_LIMIT_MS = 900;

const RESTART_NEEDED = "its new settings hold from the next start on; restart the service for that";

export interface DeviceServicesOptions {
  /** At least one; their names, sockets and fds differ. */
  readonly devices: readonly DeviceRequest[];
  readonly logSettings: LogSettings;
  /** The program's entry file, which every worker starts again. */
  readonly entry: string;
  readonly manager: ServiceManager;
}

export interface DeviceServicesEvents {
  /** Called with a line once a socket listens, and of several devices once all do or have failed. */
  readonly onReady: (line: string) => void;
  /** All devices are served or have failed, and at least one is served. Once. */
  readonly onAllTried: () => void;
  /** What is served has changed, or a front-end has come or gone. */
  readonly onChange: () => void;
  /** All are about to be stopped. Once. */
  readonly onStopping: () => void;
}

/**
 * All devices of this process. None knows of the others: one that fails is reported and tried again while the others
 * are served. Only when none is served any more, nor may be soon, all of it has failed.
 */
export class DeviceServices {
  /** Always the same array. */
  readonly devices: readonly DeviceService[];
  readonly #devices: DeviceService[];
  /** Those that are no longer wanted, until they have stopped. */
  readonly #leaving = new Set<DeviceService>();
  readonly #several: boolean;
  /** What each device failed from last, so that a failure that stays is told once. */
  readonly #told = new Map<DeviceService, string>();
  /** The last line about readiness is out. */
  #announced = false;
  #stopping = false;
  #stopFailure: OperatorError | undefined;
  #finish: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(
    private readonly options: DeviceServicesOptions,
    private readonly log: Log,
    private readonly events: DeviceServicesEvents,
  ) {
    this.#several = options.devices.length > 1;
    this.#devices = options.devices.map((request) => this.#create(request));
    this.devices = this.#devices;
  }

  #create(request: DeviceRequest): DeviceService {
    const { entry, logSettings, manager } = this.options;
    const { name } = request;
    return new DeviceService(request, {
      entry,
      log: deviceLog(this.log, name, { inText: this.#several }),
      logSettings: { ...logSettings, device: { name, inText: this.#several } },
      managerAddress: manager.address,
      onFrontEnd: () => this.events.onChange(),
      onReady: (service, where, device) => this.#ready(service, where, device),
      onFailed: (service) => this.#failed(service),
      onEnded: (service) => this.#ended(service),
    });
  }

  get haveFaults(): boolean {
    return this.devices.some(({ hasFaults }) => hasFaults);
  }

  switchFaults(): void {
    for (const service of this.devices) if (service.hasFaults) service.switchFaults();
  }

  /** Resolves when all have stopped; rejects when none can be served, or one could not be stopped in order. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#finish = { resolve, reject };
      for (const service of this.devices) service.start();
    });
  }

  /**
   * Serves other devices from now on. Those that stay as they are do not notice; what was changed of one that is served
   * waits for the next start, as its guest would.
   */
  apply(wanted: readonly DeviceRequest[]): void {
    if (this.#stopping) return;
    const staying = this.devices.filter((service) => !this.#leaving.has(service));
    const { added, removed, changed } = deviceChanges(staying, wanted);
    if (!this.#several) {
      if (added.length + removed.length + changed.length > 0)
        this.log.warn(RESTART_NEEDED, { event: "restart_needed" });
      return;
    }
    const replaced = changed.filter(({ service }) => !service.isActive);
    for (const { service } of changed.filter(({ service }) => service.isActive)) {
      const device = service.name;
      this.log.warn(`${device}: ${RESTART_NEEDED}`, { event: "restart_needed", device });
    }
    for (const { service } of replaced) this.#remove(service);
    for (const request of [...added, ...replaced.map(({ wanted }) => wanted)]) this.#add(request);
    for (const service of removed) this.#remove(service);
    this.#look();
  }

  #add(request: DeviceRequest): void {
    const names = new Set(this.devices.map(({ name }) => name));
    let { name } = request;
    // Simulated devices are numbered by their tables, and others may have the numbers.
    for (let i = 0; names.has(name); i++) name = `sim${i}`;
    const service = this.#create({ ...request, name });
    this.log.info(`${name}: will be served from now on`, { event: "device_added", device: name });
    this.#devices.push(service);
    service.start();
  }

  #remove(service: DeviceService): void {
    const device = service.name;
    this.log.info(`${device}: is no longer to be served`, { event: "device_removed", device });
    this.#leaving.add(service);
    service.stop();
    if (!service.isActive) this.#drop(service);
  }

  /** It has given its device back; its socket has no meaning any more. */
  #drop(service: DeviceService): void {
    this.#leaving.delete(service);
    this.#devices.splice(this.#devices.indexOf(service), 1);
    const others = this.devices.flatMap(({ keptSocket }) => keptSocket ?? []);
    if (service.keptSocket) giveUpSocket(service.keptSocket, others, this.options.manager);
  }

  #ended(service: DeviceService): void {
    if (this.#leaving.has(service)) this.#drop(service);
    this.#look();
  }

  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.events.onStopping();
    for (const service of this.devices) service.stop();
    setTimeout(() => {
      for (const service of this.devices.filter(isActive)) {
        const which = this.#several ? service.name : "the device";
        this.log.warn(`${which} did not stop within ${STOP_LIMIT_MS} ms; the kernel takes it from here`, {
          event: "stop_timeout",
          device: service.name,
          ms: STOP_LIMIT_MS,
        });
        service.abandon();
      }
      this.#finish?.resolve();
    }, STOP_LIMIT_MS).unref();
    this.#look();
  }

  #ready(service: DeviceService, where: string, device: string): void {
    if (!this.#announced) this.events.onReady(`READY ${where} device=${device}`);
    else
      this.log.info(`${service.name}: served, ${where}`, {
        event: "device_served",
        device: service.name,
        where,
      });
    this.#told.delete(service);
    this.#look();
  }

  #failed(service: DeviceService): boolean {
    const failure = service.failure!;
    if (this.#stopping) this.#stopFailure ??= failure;
    // As long as one is served, the process is there for all devices that it was given.
    const leaves = this.#leaving.has(service);
    const goOn = !this.#stopping && !leaves && this.devices.some(isActive);
    if (this.#several) this.#tell(service, failure, goOn ? service.retryMs : undefined);
    if (leaves) this.#drop(service);
    this.#look();
    return goOn;
  }

  /** A failure that stays is one line, not one for each attempt. */
  #tell(service: DeviceService, { message, remedy }: OperatorError, retryMs: number | undefined): void {
    const next = retryMs === undefined ? "" : `; next attempt in ${retryMs / 1000} s`;
    const line = `${service.name}: ${message}${remedy ? `; try: ${remedy}` : ""}${next}`;
    const event = {
      event: "device_failed",
      device: service.name,
      error: message,
      remedy,
      retry_ms: retryMs,
    } as const;
    if (this.#told.get(service) === message) this.log.debug(line, event);
    else this.log.error(line, event);
    this.#told.set(service, message);
  }

  /** Draws the conclusions from what has changed. */
  #look(): void {
    const failed = this.devices.filter(({ phase }) => phase === "failed");
    if (this.#stopping || !this.devices.some(isActive)) {
      if (this.devices.some(isActive)) return;
      for (const service of this.devices) service.stop();
      const error = this.#stopping
        ? this.#stopFailure
        : failed.length > 0
          ? this.#noneServed(failed)
          : undefined;
      if (error) this.#finish?.reject(error);
      else this.#finish?.resolve();
    } else if (!this.#announced && this.devices.every(({ phase }) => phase !== "starting")) {
      this.#announced = true;
      const served = this.devices.length - failed.length;
      if (this.#several) this.events.onReady(`READY devices=${served} failed=${failed.length}`);
      this.events.onAllTried();
    } else this.events.onChange();
  }

  #noneServed(failed: readonly DeviceService[]): OperatorError {
    const [first] = failed;
    const failure = first!.failure!;
    if (!this.#several) return failure;
    const kinds = new Set(failed.map((service) => service.failure!.kind));
    return new OperatorError(`none of ${this.devices.length} devices is served`, {
      why: `${first!.name}: ${failure.message}`,
      remedy: failure.remedy,
      kind: kinds.size === 1 ? failure.kind : "failed",
      cause: failure,
    });
  }
}

const isActive = (service: DeviceService) => service.isActive;
