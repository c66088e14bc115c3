// QEMU's command line for a VM. The choices that make every boot succeed are explained where they stand.
import { cpusOf, type VmShape } from "../../../test/lab/harness/shape.ts";
import type { Parts } from "../build/everything.ts";
import { deviceArguments } from "./devices.ts";
import { PANIC_PARAMETERS } from "./post-mortem.ts";
import { wiring } from "./wires.ts";

export interface VmFiles {
  /** Read-only: the checkout and the nested guest. */
  tree: string;
  /** Written by the VM, read outside afterwards. */
  logs: string;
  /** Where QEMU's monitor listens; nowhere for an interactive VM. */
  monitor?: string;
}

export type Console = { file: string } | "terminal";

function iommuArguments(kind: VmShape["iommu"]): string[] {
  switch (kind ?? "intel") {
    case "intel":
      // 48 bits: DPDK's virtio-user maps its own process addresses, which need 47. eim: with it the guest's kernel ends
      // interrupts by an MSR; the write to the APIC's page got lost at times.
      return ["-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48,eim=on"];
    case "virtio":
      return ["-device", "virtio-iommu-pci,bus=pcie.0,addr=0x7"];
    case "none":
      return [];
  }
}

const disk = (file: string, id: string, slot: number, readonly: boolean) => [
  ...["-drive", `file=${file},if=none,id=${id},format=raw,readonly=${readonly ? "on" : "off"},cache=unsafe`],
  ...["-device", `virtio-blk-pci,drive=${id},bus=pcie.0,addr=${slot}`],
];

function kernelParameters(shape: VmShape, scenario: string, shell: boolean): string {
  const iommu = shape.iommu ?? "intel";
  const modules = [...(iommu === "virtio" ? ["virtio_iommu"] : []), ...(shape.modules ?? [])];
  return [
    "console=ttyS0 quiet panic=-1 mitigations=off",
    // Under emulation on a busy machine the clock checks fail by chance; these skip them.
    "tsc=reliable no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1",
    PANIC_PARAMETERS,
    iommu === "intel" ? "intel_iommu=on iommu=pt" : "",
    `lab.scenario=${scenario} lab.modules=${modules.join(",")}`,
    shape.systemd === true ? "lab.systemd" : "",
    shell ? "lab.shell" : "",
  ].join(" ");
}

/** QEMU, with a library of ours where a NIC has its legacy registers in memory. */
function emulator({ qemu, memoryRegisters }: Parts, { devices }: VmShape): string[] {
  const names = devices.flatMap((device) =>
    device.kind === "nic" && device.legacyBar === "memory" ? [device.name] : [],
  );
  if (names.length === 0) return qemu({ env: [] });
  return qemu({ env: [`LAB_MEMORY_REGISTERS=${names.join(",")}`], preload: memoryRegisters });
}

/** A command line whose stdout carries the results, or the console of an interactive VM. */
export function commandLine(
  parts: Parts,
  shape: VmShape,
  scenario: string,
  files: VmFiles,
  console: Console,
): string[] {
  const { netdevs, setup } = wiring(shape.devices);
  const interactive = console === "terminal";
  const results = interactive ? "null,id=results" : "stdio,id=results,signal=off";
  const terminal = interactive
    ? "stdio,id=console,mux=on,signal=off"
    : `file,id=console,path=${console.file}`;
  return [
    // setpriv: the VM dies with us, even when we are killed. The namespace is QEMU's own, and vanishes with it.
    ...["setpriv", "--pdeathsig", "KILL", "unshare", "--net", ...(process.getuid?.() === 0 ? [] : ["-r"])],
    ...["sh", "-ec", [...setup, 'exec "$@"'].join("\n"), "wires"],
    ...emulator(parts, shape),
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    // intremap needs the split interrupt controller.
    ...["-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"],
    ...["-smp", String(cpusOf(shape)), "-m", `${shape.mebibytes ?? 3072}M`],
    ...iommuArguments(shape.iommu),
    ...["-kernel", parts.kernel, "-initrd", parts.initramfs],
    ...["-append", kernelParameters(shape, scenario, interactive)],
    ...disk(parts.root, "root", 3, true),
    ...disk(files.tree, "tree", 4, true),
    ...disk(files.logs, "logs", 5, false),
    ...["-device", "virtio-rng-pci,bus=pcie.0,addr=0x6"],
    ...netdevs.flatMap((netdev) => ["-netdev", netdev]),
    ...deviceArguments(shape.devices, (shape.iommu ?? "intel") !== "none"),
    ...["-chardev", terminal, "-serial", "chardev:console"],
    ...(interactive ? ["-mon", "chardev=console,mode=readline"] : []),
    ...["-chardev", results, "-serial", "chardev:results"],
    ...(files.monitor === undefined ? [] : ["-qmp", `unix:${files.monitor},server=on,wait=off`]),
  ];
}
