import { expect, test } from "bun:test";
import { Daemon } from "../e2e/support/daemon.ts";
import { wellBehaved } from "../e2e/support/well-behaved.ts";
import { runCase, type Verdict } from "./support/fuzz-case.ts";

/**
 * Rings with random content against the compiled binary, which relays and logs them. Each case has a seed of its own:
 * `VDPACTL_FUZZ_SEED=N VDPACTL_FUZZ_CASES=1` repeats case N alone.
 */
const number = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);
const SEED = number("VDPACTL_FUZZ_SEED", Math.floor(Math.random() * 2 ** 31));
const CASES = number("VDPACTL_FUZZ_CASES", 400);

test(`items 49 to 53: ${CASES} rings of random content, from VDPACTL_FUZZ_SEED=${SEED} on`, async () => {
  const daemon = await Daemon.start({ args: ["--datapath", "relay"] });
  const seen: Record<Verdict, number> = {
    served: 0,
    "ring stopped": 0,
    "device stopped": 0,
    "harmed itself": 0,
  };
  try {
    for (const packed of [false, true]) await wellBehaved(daemon, { packed });
    const rest = await daemon.settledHoldings();
    for (let seed = SEED; seed < SEED + CASES; seed++) {
      try {
        seen[await runCase(daemon, seed)]++;
        daemon.assertAlive();
        await daemon.backTo(rest);
      } catch (error) {
        const log = daemon.log.slice(-10).join("\n");
        throw new Error(
          `VDPACTL_FUZZ_SEED=${seed} VDPACTL_FUZZ_CASES=1 repeats it; the log ends with:\n${log}`,
          {
            cause: error,
          },
        );
      }
    }
    for (const packed of [false, true]) await wellBehaved(daemon, { packed });
    await daemon.backTo(rest);
    expect(await daemon.stop()).toBe(0);
    console.log(`random rings from seed ${SEED} on: ${JSON.stringify(seen)}`);
    // Neither must the fuzzing be toothless nor the back-end refuse everything.
    if (CASES >= 100) for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
  } finally {
    await daemon.dispose();
  }
}, 600_000);
