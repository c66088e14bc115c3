import { Daemon, run } from "../../test/e2e/support/daemon.ts";
import { connectGuest, type Guest } from "../../test/support/front-end/guest.ts";
import { exchange, type PairReport, trafficProblem } from "../../test/support/front-end/traffic.ts";
import { count, LiveTable, paint } from "./live-table.ts";

const SECONDS = 3;
const PAIRS = 2;

const ROLES = `
${paint("bold", "vdpactl, shown with a simulated network card")}

  front-end   plays the virtual machine (QEMU or DPDK elsewhere): it owns memory and ring buffers
  vhost-user  the protocol between the two, over a Unix socket
  back-end    vdpactl: it puts the front-end's memory and rings into the card's registers, then steps aside
  card        a virtio network card, simulated here, with a loop in its port: every frame sent comes back
`;

const say = (text: string) => console.log(text);
const step = (text: string) => say(`${paint(["bold", "cyan"], "▸")} ${paint("bold", text)}`);
const indent = (text: string) => text.trimEnd().replace(/^/gm, "  ");

let daemon: Daemon | undefined;
let guest: Guest | undefined;
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    interrupted = true;
  });
}

try {
  process.exitCode = (await demo()) ? 0 : 1;
} catch (error) {
  if (!interrupted) {
    console.error(`${paint("red", "error:")} ${(error as Error).message}`);
    for (const line of daemon?.log ?? []) console.error(`  vdpactl: ${line}`);
    process.exitCode = 1;
  }
} finally {
  guest?.close();
  await daemon?.dispose();
}
if (interrupted) {
  say("\ninterrupted; everything is cleaned up");
  process.exitCode = 130;
}

/** Whether every frame came back. */
async function demo(): Promise<boolean> {
  say(ROLES);
  step("vdpactl probe   which virtio devices does this machine have?");
  const { out, err } = await run(["probe"]);
  say(indent(out || err || "none"));

  say("");
  daemon = await Daemon.start();
  step(`vdpactl serve --sim --socket ${daemon.socketPath}`);
  say(indent(daemon.out.join("\n")));

  say("");
  guest = await connectGuest({ socketPath: daemon.socketPath, pairs: PAIRS, eventIdx: true });
  const regions = guest.regions.map((region) => Number(region.description.size));
  const mib = count(regions.reduce((a, b) => a + b, 0) / 2 ** 20);
  step("the front-end connects and moves frames");
  say(`  ${PAIRS} queue pairs, ${mib} MiB of memory in ${regions.length} regions shared with vdpactl`);
  const table = new LiveTable(SECONDS);
  const start = performance.now();
  const serving = daemon;
  const over = () => interrupted || !serving.running || performance.now() - start > SECONDS * 1000;
  const reports = await exchange(guest, {
    until: over,
    patienceMs: 3000,
    onRound: (now) => table.update(now),
  });
  if (interrupted) return false;
  daemon.assertAlive();
  table.finish(reports);
  const seconds = (performance.now() - start) / 1000;

  await guest.stop();
  guest.close();
  const code = await daemon.stop();
  say("");
  return verdict(reports, seconds, code);
}

function verdict(reports: readonly PairReport[], seconds: number, code: number): boolean {
  const sent = reports.reduce((sum, report) => sum + report.sent, 0);
  const problem =
    trafficProblem(reports) ??
    (sent === 0 ? "no frame was sent" : undefined) ??
    (code === 0 ? undefined : `vdpactl ended with status ${code}`) ??
    (daemon?.socketExists ? "vdpactl left its socket behind" : undefined);
  if (problem) {
    say(`${paint(["bold", "red"], "✗")} ${problem}`);
    return false;
  }
  const rate = count(sent / seconds);
  say(
    `${paint(["bold", "green"], "✓")} ${paint("bold", `${count(sent)} frames went through vdpactl's card and all came back`)}: ` +
      "none lost, duplicated or changed",
  );
  say(`  ${rate} frames/s each way, every byte made and checked by the front-end`);
  say(`  vdpactl has ended with status 0 and removed its socket`);
  say(
    `  next: ${paint("bold", "scripts/demo --lab")} (a real virtio card in a VM), or serve your own: README.md`,
  );
  return true;
}
