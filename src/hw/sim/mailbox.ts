import { createEventfd, signalEventfd } from "../ffi/eventfd.ts";
import { closeFd } from "../ffi/fd.ts";
import { OperatorError } from "../operator-error.ts";
import { COUNTERS_SIZE } from "./counters.ts";
import { decodeError, encodeError } from "./plain-error.ts";

/** What one thread needs to talk to the device's thread. Plain data, so that it can be posted to any thread. */
export interface SimLink {
  readonly memory: SharedArrayBuffer;
  /** Eventfd that wakes the device's thread. Closed by the connected side. */
  readonly requestFd: number;
}

/** Words of the shared memory. */
const STATE = 0;
const LIFE = 1;
const KICKS = 2;
const OP = 3;
const TEXT_LENGTH = 4;
/** Byte offsets of arguments and result (doubles), a 64-bit argument, the counters, and JSON text. */
const NUMBERS_AT = 32;
const BIG_AT = 80;
const COUNTERS_AT = 96;
const TEXT_AT = COUNTERS_AT + COUNTERS_SIZE;
const SIZE = 8192;

const IDLE = 0;
const REQUEST = 1;
const ANSWER = 2;
const ERROR = 3;

const RUNNING = 1;
const DEAD = 2;

/** Longest wait for an answer in milliseconds. */
const LIMIT_MS = 10_000;
const LIFE_CHECK_MS = 100;

export const OPS = [
  "describe",
  "read",
  "write",
  "enableMsix",
  "setVector",
  "disableMsix",
  "bindDoorbell",
  "unbindDoorbell",
  "reset",
  "map",
  "unmap",
  "watchRelease",
  "inject",
  "close",
] as const;
export type Op = (typeof OPS)[number];

/** Up to four numbers, a 64-bit one and plain data. */
export interface Message {
  readonly numbers?: readonly number[];
  readonly big?: bigint;
  readonly data?: unknown;
}

export function createMailbox(): SimLink {
  return { memory: new SharedArrayBuffer(SIZE), requestFd: createEventfd() };
}

/** Where the device's counters lie in the shared memory. */
export const countersOf = (link: SimLink) => ({ buffer: link.memory, offset: COUNTERS_AT });

class Slots {
  readonly words: Int32Array;
  readonly numbers: Float64Array;
  readonly big: BigUint64Array;
  readonly text: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory);
    this.numbers = new Float64Array(memory, NUMBERS_AT, 4);
    this.big = new BigUint64Array(memory, BIG_AT, 1);
    this.text = new Uint8Array(memory, TEXT_AT);
  }

  put({ numbers = [], big = 0n, data }: Message): void {
    for (const [i, n] of numbers.entries()) this.numbers[i] = n;
    this.big[0] = big;
    const bytes = data === undefined ? new Uint8Array(0) : Buffer.from(JSON.stringify(data));
    if (bytes.length > this.text.length) throw new RangeError("message does not fit the mailbox");
    this.text.set(bytes);
    this.words[TEXT_LENGTH] = bytes.length;
  }

  data(): unknown {
    const length = this.words[TEXT_LENGTH]!;
    return length === 0 ? undefined : JSON.parse(Buffer.from(this.text.slice(0, length)).toString());
  }
}

/** The asking side; one thread at a time may use it. Calls block until the device's thread has answered. */
export class MailboxClient {
  readonly #slots: Slots;
  readonly #fd: number;
  #broken: string | undefined;

  constructor(link: SimLink) {
    this.#slots = new Slots(link.memory);
    this.#fd = link.requestFd;
  }

  /** Throws what the device's side threw, or OperatorError when it is dead or does not answer within 10 s. */
  call(op: Op, message: Message = {}): { number: number; data: unknown } {
    const { words, numbers } = this.#slots;
    if (this.#broken) throw this.#error(this.#broken);
    if (Atomics.load(words, LIFE) === DEAD) throw this.#error("its thread has died");
    this.#slots.put(message);
    words[OP] = OPS.indexOf(op);
    Atomics.store(words, STATE, REQUEST);
    signalEventfd(this.#fd);
    const deadline = performance.now() + LIMIT_MS;
    while (Atomics.load(words, STATE) === REQUEST) {
      const left = deadline - performance.now();
      if (left <= 0) {
        this.#broken = `its thread has not answered within ${LIMIT_MS / 1000} s`;
        throw this.#error(this.#broken);
      }
      Atomics.wait(words, STATE, REQUEST, Math.min(left, LIFE_CHECK_MS));
      // It may have died just before the request was there to be answered.
      if (Atomics.load(words, LIFE) === DEAD && Atomics.load(words, STATE) === REQUEST) {
        throw this.#error("its thread has died");
      }
    }
    const failed = Atomics.load(words, STATE) === ERROR;
    const data = this.#slots.data();
    Atomics.store(words, STATE, IDLE);
    if (failed) throw decodeError(data);
    return { number: numbers[0]!, data };
  }

  /** Posts a doorbell of queue 0–31 without waiting, as a write over PCI is. */
  kick(queue: number): void {
    if (this.#broken) throw this.#error(this.#broken);
    Atomics.or(this.#slots.words, KICKS, 1 << queue);
    signalEventfd(this.#fd);
  }

  /** Frees the link; calls throw from now on. The other side must have ended. */
  close(): void {
    // A thread that hangs may still use the fd: rather lose one than let it read another's.
    if (!this.#broken) closeFd(this.#fd);
    this.#broken = "it is closed";
  }

  #error(why: string): OperatorError {
    return new OperatorError("the simulated device is not reachable", { why });
  }
}

/** The answering side. */
export class MailboxServer {
  readonly #slots: Slots;

  constructor(link: SimLink) {
    this.#slots = new Slots(link.memory);
    Atomics.store(this.#slots.words, LIFE, RUNNING);
  }

  /** Bits of the queues whose doorbells were posted since the last call. */
  takeKicks(): number {
    const { words } = this.#slots;
    return Atomics.load(words, KICKS) === 0 ? 0 : Atomics.exchange(words, KICKS, 0);
  }

  /** Answers a waiting request with what `handle` returns or throws. */
  serve(handle: (op: Op, numbers: Float64Array, big: bigint, data: unknown) => Message): void {
    const { words, numbers, big } = this.#slots;
    if (Atomics.load(words, STATE) !== REQUEST) return;
    let outcome = ANSWER;
    try {
      this.#slots.put(handle(OPS[words[OP]!]!, numbers, big[0]!, this.#slots.data()));
    } catch (error) {
      this.#slots.put({ data: encodeError(error) });
      outcome = ERROR;
    }
    this.#answer(outcome);
  }

  /** Tells the asking side that nobody will answer any more. */
  die(error: unknown): void {
    const { words } = this.#slots;
    Atomics.store(words, LIFE, DEAD);
    if (Atomics.load(words, STATE) !== REQUEST) return;
    this.#slots.put({ data: encodeError(error) });
    this.#answer(ERROR);
  }

  #answer(outcome: number): void {
    const { words } = this.#slots;
    Atomics.store(words, STATE, outcome);
    Atomics.notify(words, STATE);
  }
}
