// The suite of test/contract against two NICs of the VM that differ in what they offer. (The simulated device needs
// no VM.)
import { attempt } from "./command.ts";
import { hugepages } from "./hugepages.ts";
import type { Lab } from "./lab.ts";
import type { VmShape } from "./shape.ts";
import { Testpmd } from "./testpmd.ts";

const LIMIT_SECONDS = 1500;

export const contractVm: VmShape = {
  devices: [
    { kind: "nic", name: "packed", wire: "wide", packed: true, pairs: 4 },
    { kind: "nic", name: "packed-echo", wire: "wide" },
    { kind: "nic", name: "split", wire: "narrow", ringReset: false, pagePerVq: true },
    { kind: "nic", name: "split-echo", wire: "narrow" },
  ],
};

/** VFIO's modules are loaded already. */
export async function contractSuite(lab: Lab): Promise<void> {
  hugepages(128);
  for (const device of lab.devices) await device.handTo("vfio-pci");
  const bdf = (name: string) => lab.device(name).bdf;
  const subjects = ["packed", "split"];
  // Returns every frame unchanged, as the simulated device's loopback port does.
  const echo = await Testpmd.start({
    name: "echo",
    pci: subjects.map((name) => bdf(`${name}-echo`)),
    forward: "io",
    extra: ["--port-topology=loop"],
  });
  await echo.run("start");
  const suite = [
    "env",
    `VDPACTL_CONTRACT_PCI=${subjects.map(bdf).join(",")}`,
    "bun",
    "test",
    "--timeout",
    "300000",
    "test/contract/vfio.test.ts",
  ];
  const { code, stdout, stderr } = await attempt(suite, LIMIT_SECONDS);
  const text = stdout + stderr;
  const count = (word: string) =>
    Number(text.match(new RegExp(`^\\s*(\\d+) ${word}$`, "m"))?.[1] ?? Number.NaN);
  lab.atLeast("tests that passed", count("pass"), 60);
  lab.equal("tests that failed", count("fail"), 0);
  lab.equal("exit code of bun test", code, 0);
  await echo.quit();
}
