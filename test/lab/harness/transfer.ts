// A file over the wire in both directions, between a nested guest and the peer.
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { attempt } from "./command.ts";
import type { Guest } from "./guest.ts";
import type { Peer } from "./network.ts";
import { Program } from "./program.ts";
import { until } from "./until.ts";

const SECONDS = 600;

export interface Checksums {
  original: string;
  downloaded: string;
  uploaded: string;
}

const sum = (text: string) => text.trim().split(/\s+/)[0] ?? "";

/** The guest fetches `bytes` random bytes from the peer, and the peer fetches them back. */
export async function transfer(
  guest: Guest,
  guestAddress: string,
  peer: Peer,
  bytes: number,
): Promise<Checksums> {
  const folder = "/tmp/served";
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/file`, randomBytes(bytes));
  const server = new Program("web-server", peer.argv("busybox", "httpd", "-f", "-p", "80", "-h", folder));
  await listening(peer);
  await guest.run(`wget -q -O /tmp/file http://${peer.address}/file`, SECONDS);
  await server.stop();
  // The other way the guest serves what it fetched.
  await guest.run("httpd -p 80 -h /tmp");
  await peer.run("busybox", "wget", "-q", "-O", `${folder}/returned`, `http://${guestAddress}/file`);
  await guest.run("killall httpd");
  return {
    original: sum(await peer.run("sha256sum", `${folder}/file`)),
    downloaded: sum(await guest.run("sha256sum /tmp/file")),
    uploaded: sum(await peer.run("sha256sum", `${folder}/returned`)),
  };
}

/** Waits for a web server in the peer's namespace. */
export async function listening(peer: Peer): Promise<void> {
  const sockets = peer.argv("ss", "--listening", "--tcp", "--numeric", "--no-header");
  await until("the web server", async () => (await attempt(sockets)).stdout.includes(":80 "));
}
