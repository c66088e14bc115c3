import { readFileSync } from "node:fs";

/** Whether the processor says that it is virtual (the `hypervisor` flag). */
export function hypervisorPresent(cpuinfo = readFileSync("/proc/cpuinfo", "utf8")): boolean {
  return /^flags\s*:.*\bhypervisor\b/m.test(cpuinfo);
}
