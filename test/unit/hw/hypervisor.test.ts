import { expect, test } from "bun:test";
import { hypervisorPresent } from "../../../src/hw/hypervisor.ts";

test("a processor that is virtual says so among its flags", () => {
  const cpuinfo = (model: string, flags: string) =>
    `processor\t: 0\nmodel name\t: ${model}\nflags\t\t: ${flags}\n`;
  expect(hypervisorPresent(cpuinfo("EPYC", "fpu vme hypervisor lahf_lm"))).toBe(true);
  expect(hypervisorPresent(cpuinfo("hypervisor", "fpu vme lahf_lm"))).toBe(false);
  expect(hypervisorPresent("")).toBe(false);
});
