import type { VerbGroup } from "../cli/verb-group.ts";
import cancel from "./migrate/cancel.ts";
import check from "./migrate/check.ts";
import prepare from "./migrate/prepare.ts";
import status from "./migrate/status.ts";
import to from "./migrate/to.ts";

export default {
  name: "migrate",
  description: "Prepare, watch, cancel and carry out moves of running guests",
  verbs: { status, check, prepare, cancel, to },
} satisfies VerbGroup;
