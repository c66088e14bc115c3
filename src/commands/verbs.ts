import type { VerbTable } from "../cli/run.ts";

/** The program's verbs, in the order of its help; each is loaded when it is used. */
export const VERBS: VerbTable = {
  probe: async () => (await import("./probe.ts")).default,
  bind: async () => (await import("./bind.ts")).default,
  serve: async () => (await import("./serve.ts")).default,
  stats: async () => (await import("./stats.ts")).default,
  migrate: async () => (await import("./migrate.ts")).default,
};
