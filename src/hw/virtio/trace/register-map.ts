import { hex, type TraceFields } from "../../trace.ts";
import { NO_VECTOR } from "../transport.ts";

/** A register write, under the register's name. */
export interface NamedWrite {
  readonly register: string;
  readonly value: number;
  /** The queue that it is about, where it is about one. */
  readonly queue?: number;
  /** What the value means, where it is more than a number. */
  readonly meaning?: TraceFields;
}

/** Knows the registers of one layout by their places, and what was selected last. */
export interface RegisterMap {
  /** Names a write to a region; undefined for what is no register of the layout. */
  name(region: number, offset: number, value: number): NamedWrite | undefined;
}

/** Registers whose values are flags or addresses, so that only hexadecimal can be read. */
const HEXADECIMAL = /feature$|status|FEATURES|STATUS|_lo$|_hi$|PFN|\+/;
const VECTOR = /vector$|msix|VECTOR$/;
/** Those whose value is the queue. */
const SELECTS = /queue_select|QUEUE_SEL|notify$|NOTIFY$/;

/** `queue_size = 256 (queue 3)`. */
export function writeText(write: NamedWrite): string {
  const { register, queue, meaning } = write;
  const lists = Object.values(meaning ?? {}) as readonly (readonly string[])[];
  const names = lists.filter((list) => list.length > 0).map((list) => ` [${list.join(" ")}]`);
  const whose = queue === undefined || SELECTS.test(register) ? "" : ` (queue ${queue})`;
  return `${register} = ${valueText(write)}${names.join("")}${whose}`;
}

function valueText({ register, value }: NamedWrite): string {
  if (VECTOR.test(register) && value === NO_VECTOR) return "none";
  return HEXADECIMAL.test(register) ? hex(value) : `${value}`;
}
