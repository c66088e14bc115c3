// The contract suite against a real device that is opened by its own node and iommufd.
import { contractSuite, contractVm } from "./harness/contract-suite.ts";
import { scenario } from "./harness/scenario.ts";
import { loadVfioWithIommufd } from "./harness/vfio.ts";

export default scenario({
  summary: "the contract suite of test/contract against a real device, through iommufd",
  usesVdpactl: false,
  extended: true,
  vm: contractVm,
  async run(lab) {
    await loadVfioWithIommufd();
    await contractSuite(lab);
  },
});
