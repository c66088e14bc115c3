import type { VerbGroup } from "../cli/verb-group.ts";
import cancel from "./migrate/cancel.ts";
import prepare from "./migrate/prepare.ts";
import status from "./migrate/status.ts";

export default {
  name: "migrate",
  description: "Prepare, watch and cancel moves of running guests",
  verbs: { status, prepare, cancel },
} satisfies VerbGroup;
