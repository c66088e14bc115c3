// The contract suite, which runs against the simulated device everywhere, here against a real one over VFIO.
import { contractSuite, contractVm } from "./harness/contract-suite.ts";
import { scenario } from "./harness/scenario.ts";
import { loadVfio } from "./harness/vfio.ts";

export default scenario({
  summary: "the contract suite of test/contract against a real device",
  usesVdpactl: false,
  vm: contractVm,
  async run(lab) {
    await loadVfio();
    await contractSuite(lab);
  },
});
