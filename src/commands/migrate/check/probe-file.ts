import { readFileSync } from "node:fs";
import * as v from "valibot";
import { messageOf, OperatorError } from "../../../hw/operator-error.ts";

/** Larger files are not ours. */
const MAX_BYTES = 16 << 20;

const count = v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0)));
/** What a check needs of a record of `probe --json`; further keys do not matter. */
const RECORD = v.object({
  bdf: v.string(),
  type: v.string(),
  layout: v.nullable(v.string()),
  features: v.nullable(
    v.object({
      source: v.picklist(["device", "kernel"]),
      mask: v.pipe(v.string(), v.regex(/^0x[\da-f]{1,16}$/i)),
      names: v.array(v.string()),
    }),
  ),
  config: v.nullable(v.record(v.string(), v.union([v.string(), v.number(), v.null()]))),
  queue_size: count,
  msix_vectors: count,
});

export type ProbedDevice = v.InferOutput<typeof RECORD>;

/**
 * Reads what `vdpactl probe PCI --json` printed on the other side: one network device.
 * @throws OperatorError (usage) that says what is wrong with the file
 */
export function readProbeFile(path: string): ProbedDevice {
  const wrong = (why: string, remedy = "on the other side: vdpactl probe PCI --json > FILE") =>
    new OperatorError(`${path} is not what a check needs`, { why, remedy, kind: "usage" });
  const records = parse(path, wrong);
  const result = v.safeParse(v.array(v.object({ type: v.string() })), records);
  if (!result.success) throw wrong("it is no output of vdpactl probe --json");
  const nets = (records as { type: string }[]).filter(({ type }) => type === "net");
  if (nets.length !== 1) throw wrong(`it has ${nets.length} network devices; a check needs one`);
  const device = v.safeParse(RECORD, nets[0]);
  if (!device.success) {
    const [issue] = device.issues;
    throw wrong(`${v.getDotPath(issue) ?? "its record"}: ${issue.message}`);
  }
  return device.output;
}

function parse(path: string, wrong: (why: string) => OperatorError): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new OperatorError(`cannot read ${path}`, { why: messageOf(error), kind: "usage", cause: error });
  }
  if (text.length > MAX_BYTES) throw wrong(`it has more than ${MAX_BYTES} characters`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw wrong(`it is no JSON: ${messageOf(error)}`);
  }
}
