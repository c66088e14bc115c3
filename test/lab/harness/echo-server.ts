// A program for the peer's namespace: sends random bytes to whoever connects, who returns them, until it is told to
// end. Both ways are hashed. Usage: bun echo-server.ts ADDRESS PORT; then lines on stdin: "progress", "end".
import { createHash, randomBytes } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

const BLOCK_BYTES = 4096;
/** What may be under way, there and back. */
const WINDOW_BYTES = 16 * BLOCK_BYTES;
/** A stream as fast as it can be would leave an emulated processor no time for anything else. */
const PAUSE_MS = 50;
const BLOCKS_AT_ONCE = 2;

const out = { bytes: 0, hash: createHash("sha256") };
const back = { bytes: 0, hash: createHash("sha256") };

function feed(socket: Socket): void {
  for (let i = 0; i < BLOCKS_AT_ONCE && out.bytes - back.bytes + BLOCK_BYTES <= WINDOW_BYTES; i++) {
    const block = randomBytes(BLOCK_BYTES);
    out.hash.update(block);
    out.bytes += block.length;
    socket.write(block);
  }
}

const tell = (record: object) => console.log(JSON.stringify(record));

const [address = "", port = ""] = process.argv.slice(2);
const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  server.close();
  const feeding = setInterval(() => feed(socket), PAUSE_MS);
  socket.on("data", (bytes) => {
    back.hash.update(bytes);
    back.bytes += bytes.length;
  });
  socket.on("error", (error) => {
    tell({ error: error.message });
    process.exit(1);
  });
  socket.on("end", () => {
    tell({
      sent: out.bytes,
      returned: back.bytes,
      sent_sha256: out.hash.digest("hex"),
      returned_sha256: back.hash.digest("hex"),
    });
    process.exit(0);
  });
  createInterface(process.stdin).on("line", (line) => {
    if (line === "progress") tell({ sent: out.bytes, returned: back.bytes });
    if (line !== "end") return;
    clearInterval(feeding);
    socket.end();
  });
});
server.listen(Number(port), address, () => console.log("listening"));
