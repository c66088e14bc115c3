import { OperatorError } from "../operator-error.ts";

/** Binding is root's, and what it has written down may be. */
export const needsRoot = (what: string, why: string, cause: unknown) =>
  new OperatorError(what, {
    why: `this user may not ${why}`,
    remedy: "run it as root: sudo vdpactl bind …",
    kind: "not-ready",
    cause,
  });
