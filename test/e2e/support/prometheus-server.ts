import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../../support/front-end/wait.ts";
import { ONCE_MS } from "./daemon.ts";

/** A sample as an instant query answers with it. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [time: number, value: string];
}

/** A real Prometheus that scrapes one address every second. */
export class PrometheusServer {
  #log = "";
  #ended = false;
  readonly #directory = mkdtempSync(join(tmpdir(), "vdpactl-prometheus-"));
  readonly #exit: Promise<unknown>;
  readonly #child: ChildProcess;

  /** @param target address and port of the metrics */
  private constructor(target: string) {
    const config = join(this.#directory, "prometheus.yml");
    writeFileSync(
      config,
      `global: { scrape_interval: 1s }\nscrape_configs: [{ job_name: vdpactl, static_configs: [{ targets: ["${target}"] }] }]\n`,
    );
    const data = join(this.#directory, "data");
    this.#child = spawn(
      "prometheus",
      [`--config.file=${config}`, `--storage.tsdb.path=${data}`, "--web.listen-address=127.0.0.1:0"],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#log += text;
    });
    this.#exit = new Promise((resolve) => {
      const end = () => {
        this.#ended = true;
        resolve(undefined);
      };
      this.#child.on("close", end).on("error", end);
    });
  }

  static async start(target: string): Promise<PrometheusServer> {
    const server = new PrometheusServer(target);
    await eventually(() => server.#ended || server.#isReady, ONCE_MS, "Prometheus is ready");
    if (server.#ended) throw new Error(`Prometheus ended: ${server.#log}`);
    return server;
  }

  /** @throws when Prometheus does not understand the query */
  async query(expression: string): Promise<Sample[]> {
    const url = `http://${this.#address}/api/v1/query?query=${encodeURIComponent(expression)}`;
    const answer = (await (await fetch(url)).json()) as { error?: string; data?: { result: Sample[] } };
    if (!answer.data) throw new Error(`${expression}: ${answer.error}`);
    return answer.data.result;
  }

  async close(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exit;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #isReady(): boolean {
    return this.#log.includes("Server is ready to receive web requests");
  }

  /** As it says itself, the port being any that was free. */
  get #address(): string | undefined {
    return /msg="?Listening on"? address=(\S+)/.exec(this.#log)?.[1];
  }
}
