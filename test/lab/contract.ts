// The contract suite, which runs against the simulated device everywhere, here against a real one over VFIO.
import { attempt, command } from "./harness/command.ts";
import { hugepages } from "./harness/hugepages.ts";
import { scenario } from "./harness/scenario.ts";
import { Testpmd } from "./harness/testpmd.ts";

const LIMIT_SECONDS = 1500;

export default scenario({
  summary: "the contract suite of test/contract against a real device",
  usesVdpactl: false,
  vm: {
    devices: [
      { kind: "nic", name: "subject", wire: "wide", packed: true, pairs: 4 },
      { kind: "nic", name: "echo", wire: "wide", pairs: 4 },
    ],
  },
  async run(lab) {
    await command("modprobe", "-a", "vfio-pci", "vfio_iommu_type1");
    hugepages(128);
    for (const device of lab.devices) await device.handTo("vfio-pci");
    // Returns every frame unchanged, as the simulated device's loopback port does.
    const echo = await Testpmd.start({
      name: "echo",
      pci: [lab.device("echo").bdf],
      pairs: 4,
      forward: "io",
    });
    await echo.run("start");
    const subject = lab.device("subject").bdf;
    const suite = [
      "env",
      `VDPACTL_CONTRACT_PCI=${subject}`,
      "bun",
      "test",
      "--timeout",
      "300000",
      "test/contract",
    ];
    const { code, stdout, stderr } = await attempt(suite, LIMIT_SECONDS);
    const text = stdout + stderr;
    const count = (word: string) =>
      Number(text.match(new RegExp(`^\\s*(\\d+) ${word}$`, "m"))?.[1] ?? Number.NaN);
    lab.atLeast("tests that passed", count("pass"), 1);
    lab.equal("tests that failed", count("fail"), 0);
    lab.equal("exit code of bun test", code, 0);
    await echo.quit();
  },
});
