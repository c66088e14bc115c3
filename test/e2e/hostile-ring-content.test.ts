import { HostileStage } from "./support/hostile-stage.ts";
import { MALFORMED } from "./support/malformed.ts";
import { stopsRing } from "./support/ring-fault.ts";

const stage = new HostileStage({ args: ["--datapath", "relay"] });

// Where memory may be truncated the relay works on copies, and reads rings and tables another way.
for (const sealable of [true, false]) {
  for (const packed of [false, true]) {
    const layout = packed ? "packed" : "split";
    for (const { item, what, reason, spoil, only = layout, options = {} } of MALFORMED) {
      if (only !== layout || (!sealable && item === 51)) continue;
      stage.item(item, `${layout}${sealable ? "" : ", copied"}: ${what}`, () =>
        stopsRing(stage, { packed, sealable, ...options }, reason, (hit) => spoil(hit.raw, hit)),
      );
    }
  }
}
