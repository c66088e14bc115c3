// systemd starts the service again: after a kill, and when the serving thread hangs.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectUnix } from "../../../src/hw/ffi/unix-socket.ts";
import { Channel } from "../../support/front-end/channel.ts";
import { sleepingInEpoll } from "../harness/footprint.ts";
import type { Lab } from "../harness/lab.ts";
import { type Service, serving, visit } from "./service.ts";

/** A front-end that connects while no process is there is served by the next one. */
async function killed(lab: Lab, { unit, socket }: Service): Promise<void> {
  const pid = await unit.pid();
  process.kill(pid, "SIGKILL");
  const waiting = new Channel(connectUnix(socket));
  await unit.replaced(pid);
  const status = await visit(unit, { channel: waiting });
  lab.equal("killed: the front-end that came meanwhile is served", status, serving(socket));
}

/** Freezes the serving thread alone: the main thread lives and answers. */
function freezeServing(pid: number): void {
  const [thread] = sleepingInEpoll(pid);
  if (thread === undefined) throw new Error(`no thread of ${pid} serves`);
  const path = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().replace(/^0::/, "");
  const group = join("/sys/fs/cgroup", path, "frozen");
  mkdirSync(group);
  writeFileSync(join(group, "cgroup.type"), "threaded");
  writeFileSync(join(group, "cgroup.threads"), String(thread));
  writeFileSync(join(group, "cgroup.freeze"), "1");
}

async function hung(lab: Lab, { unit, socket }: Service): Promise<void> {
  const pid = await unit.pid();
  freezeServing(pid);
  await unit.replaced(pid);
  const said = (await unit.journal()).match(/Failed with result 'watchdog'/g) ?? [];
  lab.equal("hung serving thread: it was the watchdog", said.length, 1);
  lab.equal(
    "hung serving thread: the next one serves",
    await visit(unit, { socketPath: socket }),
    serving(socket),
  );
}

export async function checkRestarts(lab: Lab, service: Service): Promise<void> {
  const { unit } = service;
  await killed(lab, service);
  await hung(lab, service);
  lab.equal("restarts that systemd counts", await unit.show("NRestarts"), "2");
  await unit.stop();
  lab.equal("stop after restarts: result", await unit.show("Result"), "success");
}
