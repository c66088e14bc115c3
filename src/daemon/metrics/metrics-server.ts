import { lstatSync, rmSync } from "node:fs";
import { messageOf, OperatorError } from "../../hw/operator-error.ts";
import { removeStale } from "../../vhost-user/socket-file.ts";
import { PROMETHEUS_TYPE } from "./prometheus-text.ts";

/** Where metrics are served: a TCP address, or a Unix socket. */
export type MetricsAddress = { readonly hostname: string; readonly port: number } | { readonly unix: string };

/** `127.0.0.1:9100`, `[::1]:9100`, `localhost:9100` or `unix:/run/metrics.sock`. @throws OperatorError (usage) */
export function parseMetricsAddress(text: string): MetricsAddress {
  const unix = /^unix:(.+)$/.exec(text)?.[1];
  if (unix) return { unix };
  const [, six, four, port] = /^(?:\[([\da-f:.%\w]+)\]|([^\s:[\]]+)):(\d{1,5})$/i.exec(text) ?? [];
  const hostname = six ?? four;
  if (hostname === undefined || Number(port) > 65535) {
    throw new OperatorError(`"${text}" is no address for metrics`, {
      why: "it is ADDRESS:PORT, such as 127.0.0.1:9100 or [::1]:9100, or unix:PATH",
      kind: "usage",
    });
  }
  return { hostname, port: Number(port) };
}

export interface MetricsServer {
  /** Where it listens, for a log line. */
  readonly where: string;
  close(): void;
}

/**
 * Serves the text at /metrics over HTTP, to whoever can reach the address.
 * @throws OperatorError when the address can not be had
 */
export function serveMetrics(address: MetricsAddress, text: () => string): MetricsServer {
  const fetch = (request: Request): Response => {
    if (new URL(request.url).pathname !== "/metrics") return new Response("/metrics\n", { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") return new Response(null, { status: 405 });
    return new Response(text(), { headers: { "content-type": PROMETHEUS_TYPE } });
  };
  const common = { fetch, maxRequestBodySize: 1024, development: false } as const;
  try {
    if ("unix" in address) {
      const { unix } = address;
      removeStale(unix);
      const server = Bun.serve({ ...common, unix });
      const file = lstatSync(unix);
      return { where: `unix:${unix}`, close: () => closeUnix(server, unix, file.ino) };
    }
    // Another process that listens there must not get half of the requests.
    const server = Bun.serve({ ...common, ...address, reusePort: false, idleTimeout: 30 });
    return { where: `http://${server.url.host}/metrics`, close: () => void server.stop(true) };
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    const spelled = "unix" in address ? `unix:${address.unix}` : `${address.hostname}:${address.port}`;
    throw new OperatorError(`metrics can not be served at ${spelled}`, {
      why: messageOf(error),
      remedy: "choose another address with --metrics",
      kind: "not-ready",
      cause: error,
    });
  }
}

function closeUnix(server: { stop(now: boolean): unknown }, path: string, ino: number): void {
  void server.stop(true);
  try {
    if (lstatSync(path).ino === ino) rmSync(path, { force: true });
  } catch {
    // The server has removed it itself.
  }
}
