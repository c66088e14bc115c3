import { createEventfd, signalEventfd } from "./ffi/eventfd.ts";
import { closeFd } from "./ffi/fd.ts";
import { OperatorError } from "./operator-error.ts";
import { decodeError, encodeError } from "./plain-error.ts";
import { fromText, toText } from "./plain-text.ts";

/** What one thread needs to ask another. Plain data, so that it can be posted to any thread. */
export interface MailboxLink {
  readonly memory: SharedArrayBuffer;
  /** Eventfd that wakes the answering thread. Closed by the asking side. */
  readonly requestFd: number;
}

/** Words of the shared memory. */
const STATE = 0;
const LIFE = 1;
const POSTS = 2;
const OP = 3;
const TEXT_LENGTH = 4;
const TEXT_AT = 5;
/** Byte offsets of arguments and result (doubles), a 64-bit argument, and what the two sides share besides. */
const NUMBERS_AT = 32;
const BIG_AT = 80;
const EXTRA_AT = 96;

const IDLE = 0;
const REQUEST = 1;
const ANSWER = 2;
const ERROR = 3;

const RUNNING = 1;
const DEAD = 2;

/** Longest wait for an answer in milliseconds. */
const LIMIT_MS = 10_000;
const LIFE_CHECK_MS = 100;

/** Up to four numbers, a 64-bit one and plain data, which may hold 64-bit numbers too. */
export interface Message {
  readonly numbers?: readonly number[];
  readonly big?: bigint;
  readonly data?: unknown;
}

/** The two sides' agreement: requests by name, and what the answering thread is called in errors. */
export interface MailboxProtocol<Op extends string> {
  readonly ops: readonly Op[];
  readonly who: string;
}

/**
 * @param dataBytes room for a message's data as text
 * @param extraBytes room for what the two sides share besides messages, see `extraOf`
 */
export function createMailbox(dataBytes: number, extraBytes = 0): MailboxLink {
  const textAt = EXTRA_AT + 8 * Math.ceil(extraBytes / 8);
  const memory = new SharedArrayBuffer(textAt + dataBytes);
  new Int32Array(memory)[TEXT_AT] = textAt;
  return { memory, requestFd: createEventfd() };
}

/** Where the extra bytes lie, all zero at first and 8-aligned. */
export const extraOf = (link: MailboxLink) => ({ buffer: link.memory, offset: EXTRA_AT });

class Slots {
  readonly words: Int32Array;
  readonly numbers: Float64Array;
  readonly big: BigUint64Array;
  readonly text: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory, 0, NUMBERS_AT / 4);
    this.numbers = new Float64Array(memory, NUMBERS_AT, 4);
    this.big = new BigUint64Array(memory, BIG_AT, 1);
    this.text = new Uint8Array(memory, this.words[TEXT_AT]!);
  }

  put({ numbers = [], big = 0n, data }: Message): void {
    for (const [i, n] of numbers.entries()) this.numbers[i] = n;
    this.big[0] = big;
    const bytes = data === undefined ? new Uint8Array(0) : toText(data);
    if (bytes.length > this.text.length) throw new RangeError("message does not fit the mailbox");
    this.text.set(bytes);
    this.words[TEXT_LENGTH] = bytes.length;
  }

  data(): unknown {
    const length = this.words[TEXT_LENGTH]!;
    return length === 0 ? undefined : fromText(this.text.slice(0, length));
  }
}

/** The asking side; one thread at a time may use it. Calls block until the other thread has answered. */
export class MailboxClient<Op extends string> {
  readonly #slots: Slots;
  readonly #fd: number;
  #broken: string | undefined;
  #closed = false;

  /** @param limitMs longest wait for an answer */
  constructor(
    link: MailboxLink,
    readonly protocol: MailboxProtocol<Op>,
    readonly limitMs = LIMIT_MS,
  ) {
    this.#slots = new Slots(link.memory);
    this.#fd = link.requestFd;
  }

  /** The other thread has said that it does nothing any more. */
  get dead(): boolean {
    return Atomics.load(this.#slots.words, LIFE) === DEAD;
  }

  /** Why there will be no more answers; undefined as long as there may be. */
  get lost(): OperatorError | undefined {
    if (this.#broken) return this.#error(this.#broken);
    return this.dead ? this.#error("its thread has died") : undefined;
  }

  /** Throws what the answering side threw, or OperatorError when it is dead or does not answer in time. */
  call(op: Op, message: Message = {}): { number: number; data: unknown } {
    const { words, numbers } = this.#slots;
    const { lost } = this;
    if (lost) throw lost;
    this.#slots.put(message);
    words[OP] = this.protocol.ops.indexOf(op);
    Atomics.store(words, STATE, REQUEST);
    signalEventfd(this.#fd);
    const deadline = performance.now() + this.limitMs;
    while (Atomics.load(words, STATE) === REQUEST) {
      const left = deadline - performance.now();
      if (left <= 0) {
        this.#broken = `its thread has not answered within ${this.limitMs / 1000} s`;
        throw this.#error(this.#broken);
      }
      Atomics.wait(words, STATE, REQUEST, Math.min(left, LIFE_CHECK_MS));
      // It may have died just before the request was there to be answered.
      if (this.dead && Atomics.load(words, STATE) === REQUEST) {
        throw this.#error("its thread has died");
      }
    }
    const failed = Atomics.load(words, STATE) === ERROR;
    const data = this.#slots.data();
    Atomics.store(words, STATE, IDLE);
    if (failed) throw decodeError(data);
    return { number: numbers[0]!, data };
  }

  /** Raises one of 32 flags without waiting for anything. */
  post(flag: number): void {
    if (this.#broken) throw this.#error(this.#broken);
    Atomics.or(this.#slots.words, POSTS, 1 << flag);
    signalEventfd(this.#fd);
  }

  /** Frees the link; calls throw from now on. The other side must have ended. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A thread that hangs may still use the fd: rather lose one than let it read another's.
    if (!this.#broken) closeFd(this.#fd);
    this.#broken = "it is closed";
  }

  #error(why: string): OperatorError {
    return new OperatorError(`${this.protocol.who} is not reachable`, { why });
  }
}

/** The answering side. */
export class MailboxServer<Op extends string> {
  readonly #slots: Slots;

  constructor(
    link: MailboxLink,
    readonly protocol: MailboxProtocol<Op>,
  ) {
    this.#slots = new Slots(link.memory);
    Atomics.store(this.#slots.words, LIFE, RUNNING);
  }

  /** The flags that were raised since the last call, as bits. */
  takePosts(): number {
    const { words } = this.#slots;
    return Atomics.load(words, POSTS) === 0 ? 0 : Atomics.exchange(words, POSTS, 0);
  }

  /** Answers a waiting request with what `handle` returns or throws. */
  serve(handle: (op: Op, numbers: Float64Array, big: bigint, data: unknown) => Message): void {
    const { words, numbers, big } = this.#slots;
    if (Atomics.load(words, STATE) !== REQUEST) return;
    let outcome = ANSWER;
    try {
      this.#slots.put(handle(this.protocol.ops[words[OP]!]!, numbers, big[0]!, this.#slots.data()));
    } catch (error) {
      this.#slots.put({ data: encodeError(error, this.protocol.who) });
      outcome = ERROR;
    }
    this.#answer(outcome);
  }

  /** Tells the asking side that nobody will answer any more. */
  die(error: unknown): void {
    const { words } = this.#slots;
    Atomics.store(words, LIFE, DEAD);
    if (Atomics.load(words, STATE) !== REQUEST) return;
    this.#slots.put({ data: encodeError(error, this.protocol.who) });
    this.#answer(ERROR);
  }

  #answer(outcome: number): void {
    const { words } = this.#slots;
    Atomics.store(words, STATE, outcome);
    Atomics.notify(words, STATE);
  }
}
