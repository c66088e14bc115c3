// QEMU's -device values for the devices of a VM's shape.
import {
  type DeviceShape,
  type DiskShape,
  macOf,
  type NicShape,
  pairsOf,
  portSlot,
  vectorsOf,
} from "../../../test/lab/harness/shape.ts";

const onOff = (value: boolean | undefined) => (value === true ? "on" : "off");

/**
 * With an IOMMU in the VM a modern device must be told to honour it; older layouts cannot be. No ATS: with QEMU 10.0.13
 * the device then uses addresses that the kernel has unmapped, and stops after a few hundred frames.
 */
const BEHIND_IOMMU = "iommu_platform=on";

function layout(kind: NicShape["layout"], iommu: boolean): string[] {
  switch (kind ?? "modern") {
    case "modern":
      return ["disable-legacy=on", "disable-modern=off", ...(iommu ? [BEHIND_IOMMU] : [])];
    case "transitional":
      return ["disable-legacy=off", "disable-modern=off"];
    case "legacy":
      return ["disable-legacy=off", "disable-modern=on"];
  }
}

/** What goes with the control queue: without it a device may offer none of these (virtio 1.3 §5.1.3.1). */
const CONTROL_QUEUE_OFF = [
  ...["ctrl_vq", "ctrl_rx", "ctrl_rx_extra", "ctrl_vlan", "ctrl_mac_addr", "ctrl_guest_offloads"],
  "guest_announce",
].map((name) => `${name}=off`);

function nic(shape: NicShape, index: number, iommu: boolean): string {
  return [
    `virtio-net-pci,id=${shape.name},bus=port${index},netdev=n${index},mac=${macOf(index)},romfile=`,
    `mq=${onOff(pairsOf(shape) > 1)},vectors=${vectorsOf(shape)},packed=${onOff(shape.packed)}`,
    `page-per-vq=${onOff(shape.pagePerVq)},in_order=${onOff(shape.inOrder)}`,
    ...(shape.controlQueue === false ? CONTROL_QUEUE_OFF : []),
    ...(shape.ringReset === false ? ["queue_reset=off"] : []),
    ...(shape.mtu === undefined ? [] : [`host_mtu=${shape.mtu}`]),
    ...(shape.speed === undefined ? [] : [`speed=${shape.speed},duplex=full`]),
    ...(shape.aer === true ? ["aer=on"] : []),
    ...layout(shape.layout, iommu),
  ].join(",");
}

function disk(shape: DiskShape, index: number, iommu: boolean): string[] {
  const access = iommu ? `,${BEHIND_IOMMU}` : "";
  return [
    ...[
      "-blockdev",
      `driver=null-co,node-name=d${index},size=${shape.mebibytes * 1024 * 1024},read-zeroes=on`,
    ],
    "-device",
    `virtio-blk-pci,id=${shape.name},bus=port${index},drive=d${index},num-queues=${shape.queues ?? 1},` +
      `disable-legacy=on${access}`,
  ];
}

export function deviceArguments(devices: DeviceShape[], iommu: boolean): string[] {
  return devices.flatMap((shape, index) => [
    "-device",
    `pcie-root-port,id=port${index},bus=pcie.0,chassis=${index + 1},slot=${index + 1},addr=0x${portSlot(index).toString(16)}`,
    ...(shape.kind === "nic" ? ["-device", nic(shape, index, iommu)] : disk(shape, index, iommu)),
  ]);
}
