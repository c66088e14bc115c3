import type { Chain } from "./chain.ts";
import { DeviceFault } from "./device-fault.ts";
import type { DmaPort } from "./dma-port.ts";
import { LocalMemory } from "./local-memory.ts";
import { F } from "./virtio.ts";

const OK = 0;
const ERR = 1;
const MAX_COMMAND = 8192;

/** Classes and commands, virtio 1.3 §5.1.6.5. */
const CTRL_RX = 0;
const CTRL_MAC = 1;
const CTRL_MQ = 4;
const RX_ALLMULTI = 1;
const MAC_TABLE_SET = 0;
const MAC_ADDR_SET = 1;
const MQ_VQ_PAIRS_SET = 0;

/** What the driver has set through the control queue. */
export interface ControlState {
  /** Queue pairs that are processed. */
  pairs: number;
  mac: Uint8Array;
  promiscuous: boolean;
  allMulticast: boolean;
}

const local = new LocalMemory(MAX_COMMAND);

/** Carries out one command and writes its ack. Throws DeviceFault for a chain that is none. */
export function runControlCommand(
  chain: Chain,
  dma: DmaPort,
  features: bigint,
  maxPairs: number,
  state: ControlState,
): void {
  if (chain.writeBytes < 1) throw new DeviceFault("control command without room for its ack");
  if (chain.readBytes < 2) throw new DeviceFault("control command without class and command");
  let ack = ERR;
  if (chain.readBytes <= MAX_COMMAND) {
    chain.read(dma, local, 0, chain.readBytes);
    ack = execute(local.u8.subarray(0, chain.readBytes), features, maxPairs, state) ? OK : ERR;
  }
  local.u8[0] = ack;
  chain.write(dma, local, 0, 1);
}

function execute(command: Uint8Array, features: bigint, maxPairs: number, state: ControlState): boolean {
  const data = command.subarray(2);
  const has = (feature: bigint) => (features & feature) !== 0n;
  switch (command[0]) {
    case CTRL_RX: {
      if (!has(F.NET_CTRL_RX) || command[1]! > RX_ALLMULTI || data.length !== 1 || data[0]! > 1) return false;
      if (command[1] === RX_ALLMULTI) state.allMulticast = data[0] === 1;
      else state.promiscuous = data[0] === 1;
      return true;
    }
    case CTRL_MAC: {
      if (command[1] === MAC_TABLE_SET) return has(F.NET_CTRL_RX) && isMacTable(data);
      if (command[1] !== MAC_ADDR_SET || !has(F.NET_CTRL_MAC_ADDR) || data.length !== 6) return false;
      state.mac = data.slice();
      return true;
    }
    case CTRL_MQ: {
      if (command[1] !== MQ_VQ_PAIRS_SET || !has(F.NET_MQ) || data.length !== 2) return false;
      const pairs = data[0]! | (data[1]! << 8);
      if (pairs < 1 || pairs > maxPairs) return false;
      state.pairs = pairs;
      return true;
    }
    default:
      return false;
  }
}

/** Two tables (unicast, multicast), each a u32 count and that many addresses, §5.1.6.5.2. */
function isMacTable(data: Uint8Array): boolean {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;
  for (let table = 0; table < 2; table++) {
    if (at + 4 > data.length) return false;
    at += 4 + 6 * view.getUint32(at, true);
  }
  return at === data.length;
}
