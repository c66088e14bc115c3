import type { ErrorKind } from "../hw/operator-error.ts";

/** Exit codes; docs/cli.md lists them. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  "not-ready": 3,
  refused: 4,
  protocol: 5,
  migration: 6,
  interrupted: 130,
} as const satisfies Record<ErrorKind | "ok" | "interrupted", number>;
