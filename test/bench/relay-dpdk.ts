import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createEventfd } from "../../src/hw/ffi/eventfd.ts";
import { Channel } from "../support/front-end/channel.ts";
import { FrontEnd } from "../support/front-end/front-end.ts";
import { LOG_BYTES, PageLog } from "../support/front-end/page-log.ts";
import { Feature, Protocol, Request, words } from "../support/front-end/protocol.ts";
import { compileC } from "./relay-c.ts";
import { BATCH, LAPS, ring, SIZE, stageFor } from "./relay-setup.ts";

/** How long DPDK may take to start, or for a run, on a busy machine. */
const PATIENCE_MS = 120_000;
const QUEUES = [0, 1];

/** A process of relay-dpdk.c with this process as its front-end. */
export class DpdkRelay {
  readonly #lines: AsyncIterator<string>;
  #errors = "";
  /** As DPDK names itself. */
  version = "";
  readonly #log = new PageLog();
  #frontEnd: FrontEnd | undefined;

  private constructor(readonly child: ChildProcess) {
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
  }

  /**
   * Builds and starts it in `directory`.
   * @throws Error that says what DPDK lacks here
   */
  static async start(directory: string): Promise<DpdkRelay> {
    const pkgConfig = Bun.spawnSync(["pkg-config", "--cflags", "libdpdk"]);
    if (pkgConfig.exitCode !== 0) throw new Error(`no libdpdk to build with: ${pkgConfig.stderr}`);
    const flags = pkgConfig.stdout.toString().trim().split(/\s+/);
    const program = compileC("relay-dpdk.c", join(directory, "relay-dpdk"), [
      ...flags,
      "-lrte_vhost",
      "-lrte_eal",
    ]);
    const socket = join(directory, "dpdk.sock");
    const child = spawn(
      program,
      [
        ...[socket, String(SIZE), String(BATCH), String(LAPS)],
        ...["--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "-m", "64", "-l", "0"],
        ...["--log-level", "error"],
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const relay = new DpdkRelay(child);
    try {
      relay.version = await relay.#line();
      await relay.#expect("listening");
      await relay.#connect(socket);
      await relay.#expect("running");
      return relay;
    } catch (error) {
      relay.stop();
      throw error;
    }
  }

  /** One run; nanoseconds per element. */
  async run(): Promise<number> {
    this.child.stdin!.write("\n");
    const ns = Number(await this.#line());
    if (!(ns > 0)) throw new Error(`no time from DPDK's relay: ${this.#errors}`);
    // Half as many pages as buffers.
    if (this.#log.count < SIZE / 2) throw new Error("DPDK's relay did not log");
    return ns / SIZE;
  }

  stop(): void {
    this.#frontEnd?.close();
    this.child.kill("SIGKILL");
    this.#log.close();
  }

  async #connect(socket: string): Promise<void> {
    const { stage } = stageFor(false);
    const fe = new FrontEnd(await Channel.connect(socket));
    this.#frontEnd = fe;
    await fe.setOwner();
    const offered = await fe.getFeatures();
    const { LOG_ALL, VERSION_1, PROTOCOL_FEATURES, EVENT_IDX, INDIRECT_DESC } = Feature;
    const features = LOG_ALL | VERSION_1 | PROTOCOL_FEATURES | EVENT_IDX | INDIRECT_DESC;
    if ((offered & features) !== features) throw new Error(`DPDK offers features 0x${offered.toString(16)}`);
    await fe.setProtocolFeatures(
      (await fe.getProtocolFeatures()) & (Protocol.LOG_SHMFD | Protocol.REPLY_ACK),
    );
    await fe.call(Request.SET_LOG_BASE, words(BigInt(LOG_BYTES), 0n), [this.#log.fd]);
    await fe.setFeatures(features);
    await fe.setMemTable(stage.memory.regions, stage.fds);
    for (const index of QUEUES) {
      await fe.setVringNum(index, SIZE);
      await fe.setVringBase(index, 0);
      // The regions' UVAs are their GPAs.
      const addresses = { descUva: ring.descGpa, availUva: ring.driverGpa, usedUva: ring.deviceGpa };
      await fe.setVringAddr(index, { ...addresses, flags: 1, logGpa: ring.deviceGpa });
      await fe.setVringFd(Request.SET_VRING_CALL, index, createEventfd());
      await fe.setVringFd(Request.SET_VRING_KICK, index, createEventfd());
      await fe.setVringEnable(index, true);
    }
    await fe.barrier();
  }

  async #expect(word: string): Promise<void> {
    const line = await this.#line();
    if (line !== word) throw new Error(`DPDK said "${line}" instead of "${word}": ${this.#errors}`);
  }

  async #line(): Promise<string> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`DPDK's relay is silent: ${this.#errors}`)), PATIENCE_MS);
    });
    try {
      const { value, done } = await Promise.race([this.#lines.next(), late]);
      if (done) throw new Error(`DPDK's relay has ended: ${this.#errors}`);
      return value;
    } finally {
      clearTimeout(timer);
    }
  }
}
