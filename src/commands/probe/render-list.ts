import type { Output } from "../../cli/output.ts";
import type { DeviceRecord, ObstacleCode } from "./record.ts";

const SHORT: Readonly<Record<ObstacleCode, string>> = {
  unsupported_type: "type not served",
  no_iommu: "no IOMMU",
  group_shared: "group shared",
  not_bound: "not bound",
  in_use: "in use",
  held: "held",
  no_vectors: "no vectors",
  no_access_platform: "no ACCESS_PLATFORM",
  memlock: "memlock limit",
  vfio_permission: "no permission",
};

const HEADERS = ["DEVICE", "TYPE", "DRIVER", "GROUP", "QUEUES", "STATE", "IN THE WAY"];

/** One line for each device. */
export function renderList(records: readonly DeviceRecord[], output: Output): string {
  if (records.length === 0) return "";
  const rows = records.map((record) => [
    record.bdf,
    record.type,
    [record.driver, record.interfaces.length > 0 ? `(${record.interfaces.join(" ")})` : null]
      .filter(Boolean)
      .join(" "),
    record.iommu_group === null ? "" : String(record.iommu_group),
    record.queues === null ? "" : String(record.queues),
    record.state,
    record.obstacles.length === 0
      ? output.paint("green", "nothing")
      : output.paint("yellow", record.obstacles.map(({ code }) => SHORT[code]).join(", ")),
  ]);
  return output.columns(HEADERS, rows);
}
