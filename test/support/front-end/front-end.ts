import { type Channel, type Message, PATIENCE_MS } from "./channel.ts";
import {
  memReg,
  memTable,
  message,
  NEED_REPLY,
  NO_FD,
  Protocol,
  REPLIED,
  REPLY,
  type RegionDescription,
  Request,
  VERSION,
  type VringAddresses,
  vringAddr,
  words,
} from "./protocol.ts";

/** The back-end acknowledged a request with an error. */
export class Refused extends Error {
  override readonly name = "Refused";
}

const NAMES = new Map<number, string>(Object.entries(Request).map(([name, id]) => [id, name]));
const u64 = (payload: Uint8Array) => new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true);

/** A front-end's side of one connection, message by message. It keeps no order: `sequences.ts` does. */
export class FrontEnd {
  /** Protocol features set so far. */
  protocolFeatures = 0n;
  /** Every request and its ack, for error messages. */
  readonly history: string[] = [];

  constructor(readonly channel: Channel) {}

  get canAck(): boolean {
    return (this.protocolFeatures & Protocol.REPLY_ACK) !== 0n;
  }

  /** Sends a request without waiting for anything. */
  async post(
    request: number,
    payload?: Uint8Array,
    fds: readonly number[] = [],
    flags = VERSION,
  ): Promise<void> {
    this.history.push(NAMES.get(request) ?? `request ${request}`);
    await this.channel.send(message(request, payload, { flags }), fds);
  }

  /** Sends a request that has a reply, and returns it. */
  async call(
    request: number,
    payload?: Uint8Array,
    fds: readonly number[] = [],
    flags = VERSION,
  ): Promise<Message> {
    await this.post(request, payload, fds, flags);
    const reply = await this.channel.receive(PATIENCE_MS);
    // QEMU accepts exactly these flags.
    if (reply.request !== request || reply.flags !== (VERSION | REPLY)) {
      throw new Error(`reply ${reply.request} with flags ${reply.flags} to ${this.history.at(-1)}`);
    }
    return reply;
  }

  /** Sends a request with NEED_REPLY and returns the ack: 0 is success. */
  async ack(request: number, payload?: Uint8Array, fds: readonly number[] = []): Promise<bigint> {
    const { payload: answer } = await this.call(request, payload, fds, VERSION | NEED_REPLY);
    if (answer.length !== 8) throw new Error(`ack of ${answer.length} bytes to ${this.history.at(-1)}`);
    return u64(answer);
  }

  /** Sends a request; where the back-end can acknowledge it, it must do so with success. */
  async set(request: number, payload?: Uint8Array, fds: readonly number[] = []): Promise<void> {
    if (!this.canAck || REPLIED.has(request)) return this.post(request, payload, fds);
    const code = await this.ack(request, payload, fds);
    if (code !== 0n) throw new Refused(`${this.history.at(-1)} acknowledged with ${code}`);
  }

  /** Sends a request that is answered by a u64. */
  async get(request: number): Promise<bigint> {
    const { payload } = await this.call(request);
    if (payload.length !== 8) throw new Error(`reply of ${payload.length} bytes to ${this.history.at(-1)}`);
    return u64(payload);
  }

  /** Waits until all that was sent before has been handled. */
  barrier = () => this.get(Request.GET_FEATURES);

  getFeatures = () => this.get(Request.GET_FEATURES);
  setFeatures = (features: bigint) => this.set(Request.SET_FEATURES, words(features));
  getProtocolFeatures = () => this.get(Request.GET_PROTOCOL_FEATURES);
  getQueueNum = () => this.get(Request.GET_QUEUE_NUM);
  getMaxMemSlots = () => this.get(Request.GET_MAX_MEM_SLOTS);
  setOwner = () => this.set(Request.SET_OWNER);
  resetDevice = () => this.set(Request.RESET_DEVICE);
  getStatus = () => this.get(Request.GET_STATUS);
  setStatus = (status: number) => this.set(Request.SET_STATUS, words(BigInt(status)));
  setMtu = (mtu: number) => this.set(Request.NET_SET_MTU, words(BigInt(mtu)));

  async setProtocolFeatures(features: bigint): Promise<void> {
    await this.set(Request.SET_PROTOCOL_FEATURES, words(features));
    this.protocolFeatures = features;
  }

  setMemTable = (regions: readonly RegionDescription[], fds: readonly number[]) =>
    this.set(Request.SET_MEM_TABLE, memTable(regions), fds);
  addMemReg = (region: RegionDescription, fd: number) => this.set(Request.ADD_MEM_REG, memReg(region), [fd]);
  remMemReg = (region: RegionDescription) => this.set(Request.REM_MEM_REG, memReg(region));

  setVringNum = (index: number, num: number) => this.set(Request.SET_VRING_NUM, words(index, num));
  setVringBase = (index: number, num: number) => this.set(Request.SET_VRING_BASE, words(index, num));
  setVringAddr = (index: number, addresses: VringAddresses) =>
    this.set(Request.SET_VRING_ADDR, vringAddr(index, addresses));
  setVringEnable = (index: number, on: boolean) =>
    this.set(Request.SET_VRING_ENABLE, words(index, on ? 1 : 0));
  /** SET_VRING_KICK, CALL or ERR with an fd, or without one for -1. */
  setVringFd = (request: 12 | 13 | 14, index: number, fd: number) =>
    this.set(request, words(BigInt(index) | (fd < 0 ? NO_FD : 0n)), fd < 0 ? [] : [fd]);

  /** Stops a ring and returns its position. */
  async getVringBase(index: number): Promise<number> {
    const { payload } = await this.call(Request.GET_VRING_BASE, words(index, 0));
    const view = new DataView(payload.buffer, payload.byteOffset);
    if (payload.length !== 8 || view.getUint32(0, true) !== index) throw new Error("reply for another ring");
    return view.getUint32(4, true);
  }

  close(): void {
    this.channel.close();
  }
}
