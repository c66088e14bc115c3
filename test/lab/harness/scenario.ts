// A scenario file exports one of these as its default. The outside reads everything but `run`.
import type { Lab } from "./lab.ts";
import type { VmShape } from "./shape.ts";

export interface Scenario {
  /** One line for `scripts/lab list`. */
  summary: string;
  vm: VmShape;
  /** Needs dist/vdpactl. */
  usesVdpactl: boolean;
  /** Needs the Debian package of this checkout, which is built for the run. */
  usesPackage?: boolean;
  /** Too long for every run of the tests: only when it is named, or with --all. */
  extended?: boolean;
  /** Generous: a VM that takes longer hangs. */
  timeoutSeconds?: number;
  run(lab: Lab): Promise<void>;
}

const DEFAULT_LIMIT_SECONDS = 1800;

export const limitSeconds = (scenario: Scenario): number => scenario.timeoutSeconds ?? DEFAULT_LIMIT_SECONDS;

export function scenario(definition: Scenario): Scenario {
  return definition;
}
