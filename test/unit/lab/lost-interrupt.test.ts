import { expect, test } from "bun:test";
import { haltedInService } from "../../../scripts/lab.d/vm/lost-interrupt.ts";

const cpu = (number: number, halted: boolean) =>
  [
    `CPU#${number}`,
    "RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000",
    `RIP=ffffffff8e4bc56f RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=${halted ? 1 : 0}`,
    "",
  ].join("\r\n");

const registers = (...halted: boolean[]) => "\r\n" + halted.map((one, i) => cpu(i, one)).join("\r\n");

const lapic = (isr: string) =>
  [
    "dumping local APIC state for CPU 0 ",
    "",
    "LVTT\t 0x000200ec active-hi edge                 periodic     Fixed  (vec 236)",
    "ESR\t 0x00000000",
    `ISR\t ${isr}`,
    "IRR\t 34 236 ",
    "",
    "APR 0x00 TPR 0x10 DFR 0x0f LDR 0x00 PPR 0xe0",
  ].join("\r\n");

test("a CPU that is halted with an interrupt in service is found", () => {
  expect(haltedInService(registers(true, true), [lapic("(none)"), lapic("236 ")])).toEqual([
    "CPU 1: interrupt 236",
  ]);
  expect(haltedInService(registers(true, true), [lapic("236 48 "), lapic("(none)")])).toEqual([
    "CPU 0: interrupt 236",
  ]);
});

test("neither is one in whose handler the CPU is at work, nor is a CPU that sleeps with none", () => {
  expect(haltedInService(registers(false, true), [lapic("236 "), lapic("(none)")])).toEqual([]);
  expect(haltedInService(registers(true, true), [lapic("(none)"), lapic("(none)")])).toEqual([]);
  // A VM with one CPU answers for one.
  expect(haltedInService(registers(true), [lapic("(none)")])).toEqual([]);
});
