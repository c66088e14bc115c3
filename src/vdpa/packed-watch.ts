import type { GuestMemory } from "../memory/guest-memory.ts";
import { type Chain, PackedRingImage, type Place } from "../relay/packed-ring-image.ts";
import type { RingTraits } from "./direct-position.ts";
import { packedBase } from "./ring-base.ts";
import type { RingWatch } from "./ring-watch.ts";
import { SeenChains } from "./seen-chains.ts";
import type { VringConfig } from "./vdpa-device.ts";

/** Completions in a row that show a device to complete in order. */
const ENOUGH = 16;

/** Far longer than a driver takes from the first byte of a chain to the last. */
const REWRITTEN_MS = 50;
/** Far longer than a device that is rung takes to begin with the next chain. */
const QUIET_MS = 250;
/** Far longer than a device takes to write the used descriptors of a batch. */
const BATCH_MS = 250;

interface SeenPlace {
  readonly place: Place;
  /** Milliseconds. */
  readonly since: number;
}

const nextLap = ({ position, wrap }: Place): Place => ({ position, wrap: 1 - wrap });

/**
 * Watches a packed ring that the device works on, to learn where it stands and whether it completes in order. One look
 * often can not tell: a used descriptor takes the place of its chain's first and hides how many the chain had, so that
 * a descriptor behind it with the same buffer id may be the chain's rest or a new chain. A chain that was seen
 * available before it was used leaves no doubt.
 */
export class PackedWatch implements RingWatch {
  /** Where a chain begins that the device has not used, as far as was seen. */
  #next: Place | undefined;
  /** The last used descriptor that was passed. */
  #lastUsed: Place | undefined;
  /** Whether the device is known to have got there. */
  #reached = false;
  /** Chains that the last look saw available from there on. */
  readonly #seen = new SeenChains();
  /** The last used descriptor behind which it is not clear what stands, and when that was first seen. */
  #doubtful: SeenPlace | undefined;
  /** The same, as the look before this one left it. */
  #doubtfulBefore: SeenPlace | undefined;
  /** A place at which the device used nothing, but something behind it, and when that was first seen. */
  #passed: SeenPlace | undefined;
  #inOrder = 0;
  /** Descriptors in a row that the device passed while no chain of several was to be seen. */
  #singles = 0;
  #broken = false;
  #certain = false;

  constructor(
    readonly memory: GuestMemory,
    readonly vring: VringConfig,
    readonly traits: RingTraits,
    /** Milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  get #isReceive(): boolean {
    return this.vring.index % 2 === 0;
  }

  /** A completion out of order was seen. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Where the device stands, as a vring base; undefined while that or what it holds is not known for certain. */
  get base(): number | undefined {
    return this.#certain && this.#next ? packedBase(this.#next.position, this.#next.wrap === 1) : undefined;
  }

  leave(): number | undefined {
    return this.base;
  }

  /** Looks again; whether there is a `base` now. */
  look(): boolean {
    this.#doubtfulBefore = this.#doubtful;
    this.#doubtful = undefined;
    const image = PackedRingImage.of(this.memory, this.vring);
    if (!image) {
      this.#certain = false;
      return false;
    }
    if (this.#next) this.#follow(image, this.#next);
    if (this.#next && this.#isPassed(image, this.#next)) {
      this.#certain = false;
      // A device may write the first used descriptor of a batch last, as then the driver sees all of it at once.
      if (this.#passed?.place !== this.#next) this.#passed = { place: this.#next, since: this.now() };
      if (this.now() - this.#passed.since < BATCH_MS) return false;
      // What was used had other lengths than it seemed, so that it was used out of order.
      if (this.#reached) this.#broken = true;
      this.#next = undefined;
    }
    if (!this.#next || !this.#reached || this.#isLapped(image, this.#next)) this.#find(image);
    this.#seen.note(image, this.#next);
    const held = this.#seen.count;
    const ids = this.#seen.ids;
    // A chain that was used out of order leaves its id to a newer one, and so does one of which only the rest is left.
    if (ids < held && this.#reached) this.#broken = true;
    // What is available only in part is no chain, so that this is not where one begins.
    const torn = this.#next !== undefined && held === 0 && image.isAvailable(this.#next);
    if (!this.#next || !this.#reached || torn || ids < held) this.#certain = false;
    else if (held === 0 || this.traits.inOrder || this.#isFull(image, held)) this.#certain = true;
    else this.#certain ||= !this.#broken && this.#inOrder >= ENOUGH;
    return this.#certain;
  }

  /**
   * Whether as many chains are to be seen as there are ids, so that all of them are in flight, whatever the order was.
   * What is left of a chain of several may look like one: but not where drivers make none, nor where none was made in a
   * whole lap.
   */
  #isFull(image: PackedRingImage, held: number): boolean {
    return held === image.size && (this.#isReceive || this.#singles >= image.size);
  }

  /**
   * Whether the device went further than a look followed. A driver makes descriptors available in their order, so that
   * the states of the next one and of the last used one, which is a lap behind it, tell.
   */
  #isLapped(image: PackedRingImage, next: Place): boolean {
    const last = this.#lastUsed;
    if (image.isAvailable(next) || image.isUsed(next)) {
      if (last) return !image.isUsed(last) && !image.isAvailable(nextLap(last));
      // A ring that was new, or full: what stands behind its chains is new still, or there is nothing behind them.
      const { end, descriptors } = image.chainsFrom(next);
      return descriptors < image.size && !image.isUntouched(end.position);
    }
    // Nothing was made available there in this lap, as far as one can see.
    if (this.#seen.hasPosition(next.position) || image.isAvailable(nextLap(next))) return true;
    return last ? !image.isUsed(last) : !image.isUntouched(next.position);
  }

  /** Whether the device used something behind a place where it used nothing. */
  #isPassed(image: PackedRingImage, next: Place): boolean {
    // It did use what the driver has made available for the lap after.
    if (image.isAvailable(nextLap(next))) return false;
    const last = image.lastUsed();
    if (!last) return false;
    // What is left of the lap before lies from the place on, what is used of the one after it before.
    return last.wrap === next.wrap ? last.position >= next.position : last.position < next.position;
  }

  /**
   * Passes what was used since the last look, also where the driver has taken its place again already, as long as a
   * chain that was seen behind it still stands: then the ring did not go round meanwhile.
   */
  #follow(image: PackedRingImage, from: Place): void {
    const inOrder = this.#inOrder;
    let at: Place | undefined = from;
    let isTaken = false;
    for (let i = 0; i < image.size && at; i++) {
      const seen = this.#seen.at(at);
      if (image.isUsed(at)) {
        this.#lastUsed = at;
        at = this.#passUsed(image, at);
        this.#reached = true;
      } else if (seen && !this.traits.inOrder && image.isAvailable(nextLap(at))) {
        at = image.after(at, seen.length);
        isTaken = true;
      } else {
        break;
      }
    }
    if (isTaken && at && this.#seen.stands(image, at)) {
      this.#reached = true;
    } else if (isTaken) {
      this.#inOrder = inOrder;
      at = undefined;
    }
    this.#singles = at && image.isAllSingle ? this.#singles + image.distance(from, at) : 0;
    this.#next = at;
  }

  /** The place behind a used descriptor; undefined where its chain was not seen before. */
  #passUsed(image: PackedRingImage, start: Place): Place | undefined {
    const id = image.id(start.position);
    let at = start;
    // With IN_ORDER one used descriptor may stand for a batch, of which it names the last chain (§2.8.7).
    for (let i = 0; i < image.size; i++) {
      const chain = this.#seen.at(at);
      if (!chain) return undefined;
      at = image.after(at, chain.length);
      if (chain.id === id) {
        this.#inOrder++;
        return at;
      }
      if (!this.traits.inOrder) {
        if (this.#seen.standBehind(image, image.lastUsed())) this.#broken = true;
        this.#inOrder = 0;
        return undefined;
      }
    }
    return undefined;
  }

  /** Begins anew at what one look shows. */
  #find(image: PackedRingImage): void {
    const last = image.lastUsed();
    this.#lastUsed = last && !image.isUntouched(last.position) ? last : undefined;
    this.#certain = false;
    this.#singles = 0;
    this.#inOrder = 0;
    if (!last) {
      this.#next = image.fullFrom();
      // What seems the oldest chain may be the rest of one that was used, or of a batch; but for receive buffers, whose
      // chains drivers make all alike.
      this.#reached = this.#isReceive && image.isAllSingle && !this.traits.inOrder;
      return;
    }
    const behind = image.after(last, 1);
    this.#next = behind;
    this.#reached = !this.#mayBeRewritten(image, last, behind);
    if (image.isUntouched(last.position)) return;
    // A chain with the used one's buffer id is the rest of the used one or a new one: beyond it one begins in any case.
    const id = image.id(last.position);
    let at = behind;
    for (let i = 0; i < image.size; i++) {
      const chain = image.chainAt(at);
      if (!chain) return;
      at = image.after(at, chain.length);
      if (chain.id === id) {
        this.#next = at;
        this.#reached = this.#isRest(image, last, at, chain);
        return;
      }
      if (!this.traits.inOrder) return;
    }
  }

  /**
   * Whether the last used descriptor may be gone: a driver makes a chain available by its first descriptor, and has
   * written the others over used ones by then. What stands behind `last` is such a one or the rest of a chain of the
   * lap before. A driver is in the middle of that for a moment only.
   */
  #mayBeRewritten(image: PackedRingImage, last: Place, behind: Place): boolean {
    if (image.chainAt(behind)) return false;
    if (image.isAvailable(behind)) return true;
    if (!image.isAvailable(nextLap(behind))) return false;
    return !this.#hasStayed(last, REWRITTEN_MS);
  }

  /**
   * Whether what stands behind the last used descriptor of a transmit ring is the rest of its chain: the driver makes
   * chains of several, and a device that has been rung between the looks has left it for long, and has nothing else.
   */
  #isRest(image: PackedRingImage, last: Place, end: Place, { length }: Chain): boolean {
    if (this.#isReceive || image.isAvailable(end) || (length === 1 && !image.hasRestBefore(last)))
      return false;
    return this.#hasStayed(last, QUIET_MS);
  }

  /** Whether this has been the last used descriptor at all looks for so long. */
  #hasStayed(place: Place, ms: number): boolean {
    const before = this.#doubtfulBefore;
    const isSame = before?.place.position === place.position && before.place.wrap === place.wrap;
    this.#doubtful = isSame ? before : { place, since: this.now() };
    return this.now() - this.#doubtful.since >= ms;
  }
}
