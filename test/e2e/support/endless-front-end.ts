import { connectGuest } from "../../support/front-end/guest.ts";
import { exchange } from "../../support/front-end/traffic.ts";

/** A front-end for killing: sends frames for ever, and says `flowing` once they come back. */
const guest = await connectGuest({ socketPath: process.argv[2]!, pairs: 2 });
let said = false;
await exchange(guest, {
  until: () => false,
  onRound: (reports) => {
    if (said || reports.some((report) => report.returned === 0)) return;
    said = true;
    process.stdout.write("flowing\n");
  },
});
