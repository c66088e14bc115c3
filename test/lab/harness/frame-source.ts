// A program for the peer's namespace: keeps a number of numbered frames on their way to whoever returns them.
// Usage: bun frame-source.ts LINK WINDOW; then lines on stdin, each answered by the counts: "counts", "rest" (send no
// more), "go", "give up".
import { createInterface } from "node:readline";
import { NumberedFrames } from "./numbered-frames.ts";

const POLL_MS = 5;

const [link = "", window = ""] = process.argv.slice(2);
const frames = new NumberedFrames(link);
let sending = false;
let ended = false;

createInterface(process.stdin)
  .on("line", (line) => {
    if (line === "go" || line === "rest") sending = line === "go";
    if (line === "give up") frames.giveUp();
    console.log(JSON.stringify(frames.counts()));
  })
  .on("close", () => {
    ended = true;
  });
console.log("ready");
while (!ended) {
  frames.receive();
  if (sending) frames.fill(Number(window));
  frames.wait(POLL_MS);
  // Lets the lines in.
  await new Promise(setImmediate);
}
frames.close();
