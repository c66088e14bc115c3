// What the VM's kernel has to complain of. A device that goes on with memory that was taken from it shows here: as a
// fault of the IOMMU, or as memory of somebody else's that it wrote to.
import { command } from "./command.ts";

const FAULT = /BUG:|Oops|WARNING:|Bad page|Bad swap|Corrupted page table|DMAR: \[.*fault|general protection/;

export async function kernelFaults(): Promise<string[]> {
  return (await command("dmesg")).split("\n").filter((line) => FAULT.test(line));
}
