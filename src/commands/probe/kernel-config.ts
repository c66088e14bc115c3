import { basename, join } from "node:path";
import type { PciDevice } from "../../hw/pci/device.ts";
import { blockDirectoriesOf, netdevsOf } from "../../hw/pci/device-use.ts";
import { type Host, listDirectory, readAttribute, readNumber } from "../../hw/pci/host.ts";
import { hasFeature, VIRTIO_NET_F_CTRL_VQ } from "../../hw/virtio/features.ts";
import type { DeviceRecord } from "./record.ts";

/** What the kernel's drivers show of a device, so that it need not be touched. */
export interface KernelConfig {
  readonly interfaces: readonly string[];
  readonly queues: number | null;
  readonly config: DeviceRecord["config"];
}

export function readKernelConfig(device: PciDevice, host: Host): KernelConfig {
  const [netdev] = netdevsOf(device);
  if (netdev !== undefined) {
    const control = hasFeature(device.virtio?.features ?? 0n, VIRTIO_NET_F_CTRL_VQ) ? 1 : 0;
    return { interfaces: netdevsOf(device), ...readNetdev(netdev, control, host) };
  }
  const [disk] = blockDirectoriesOf(device);
  if (disk !== undefined)
    return { interfaces: blockDirectoriesOf(device).map((path) => basename(path)), ...readDisk(disk) };
  return { interfaces: [], queues: null, config: null };
}

function readNetdev(
  netdev: string,
  controlQueues: number,
  host: Host,
): Pick<KernelConfig, "queues" | "config"> {
  const path = join(host.sys, "class/net", netdev);
  const inUse = listDirectory(join(path, "queues")).filter((name) => name.startsWith("tx-")).length;
  const pairs = host.maxQueuePairs(netdev) ?? inUse;
  // Unreadable while the interface is down.
  const carrier = readNumber(join(path, "carrier"));
  const speed = readNumber(join(path, "speed"));
  return {
    queues: pairs > 0 ? 2 * pairs + controlQueues : null,
    config: {
      mac: readAttribute(join(path, "address")) ?? null,
      mtu: readNumber(join(path, "mtu")) ?? null,
      max_virtqueue_pairs: pairs || null,
      link: carrier === undefined ? null : carrier === 1 ? "up" : "down",
      speed_mbps: speed !== undefined && speed > 0 ? speed : null,
      duplex: knownDuplex(readAttribute(join(path, "duplex"))),
    },
  };
}

const knownDuplex = (text: string | undefined) => (text === "full" || text === "half" ? text : null);

function readDisk(path: string): Pick<KernelConfig, "queues" | "config"> {
  const sectors = readNumber(join(path, "size"));
  const queues = listDirectory(join(path, "mq")).length;
  return {
    queues: queues || null,
    config: {
      capacity_bytes: sectors === undefined ? null : sectors * 512,
      block_size: readNumber(join(path, "queue/logical_block_size")) ?? null,
      num_queues: queues || null,
    },
  };
}
