// The scenarios of test/lab, by file name.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Scenario } from "../../test/lab/harness/scenario.ts";
import { tree } from "./places.ts";
import { LabError } from "./progress.ts";

const folder = join(tree, "test/lab");

export function scenarioNames(): string[] {
  const files = readdirSync(folder).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"));
  return files.map((name) => name.slice(0, -".ts".length)).sort();
}

export async function scenarioNamed(name: string): Promise<Scenario> {
  if (!scenarioNames().includes(name)) {
    throw new LabError(`there is no scenario "${name}"; there are:\n  ${scenarioNames().join("\n  ")}`, 2);
  }
  const module = (await import(join(folder, name + ".ts"))) as { default: Scenario };
  return module.default;
}
