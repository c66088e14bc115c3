import packageJson from "../package.json" with { type: "json" };

// A worker of the compiled program starts the same file.
if (!Bun.isMainThread) {
  await import("./daemon/worker-entry.ts");
} else {
  const [{ runCli }, { VERBS }] = await Promise.all([import("./cli/run.ts"), import("./commands/verbs.ts")]);
  process.exit(await runCli(process.argv.slice(2), VERBS, packageJson.version));
}
