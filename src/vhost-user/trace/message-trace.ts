import { fieldText, hex, type Trace, type TraceFields } from "../../hw/trace.ts";
import {
  backendRequestName,
  FLAG_NEED_REPLY,
  FLAG_REPLY,
  FLAGS_KNOWN,
  requestName,
  VERSION,
  VERSION_MASK,
} from "../protocol.ts";
import { ACK, type PayloadForm } from "./payload-forms.ts";
import { BACK_END_FORMS, FRONT_END_FORMS, type MessageForms } from "./payload-table.ts";

/** `main` is the connection itself, `back` the channel of SET_BACKEND_REQ_FD for our own requests. */
export type ChannelName = "main" | "back";

/** A message on its way, whatever is in it. */
export interface TracedMessage {
  readonly direction: "in" | "out";
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** Number of fds that come along. */
  readonly fds: number;
}

const CHANNELS = {
  main: { nameOf: requestName, forms: FRONT_END_FORMS, prefix: "" },
  back: { nameOf: backendRequestName, forms: BACK_END_FORMS, prefix: "back channel " },
} as const;
const ARROWS = { in: "<-", out: "->" } as const;
/** Bytes of a payload without a form. */
const MOST_BYTES = 32;

/**
 * Writes a line for each message of a channel: `<- SET_VRING_NUM need_reply: index=0 num=256`.
 * @param deviceType virtio device type, for the names of features
 */
export class MessageTrace {
  constructor(
    private readonly trace: Trace,
    private readonly channel: ChannelName,
    private readonly deviceType: number,
  ) {}

  tell({ direction, request, flags, payload, fds }: TracedMessage): void {
    const { nameOf, forms, prefix } = CHANNELS[this.channel];
    const message = nameOf(request);
    const known = (forms as Readonly<Record<string, MessageForms>>)[message];
    const reply = (flags & FLAG_REPLY) !== 0;
    const fields = this.#fields(known && (reply ? (known.reply ?? ACK) : known.request), payload);
    const marks = flagNames(flags);
    const head = [message, ...marks, ...(fds > 0 ? [`fds=${fds}`] : [])].join(" ");
    const body = fieldText(fields);
    this.trace(`${prefix}${ARROWS[direction]} ${head}${body && `: ${body}`}`, {
      event: "vhost_user_message",
      channel: this.channel,
      direction,
      message,
      flags: marks,
      fds,
      payload: fields,
    });
  }

  #fields(form: PayloadForm | undefined, payload: Uint8Array): TraceFields {
    if (form === undefined || payload.byteLength < form.least) return asBytes(payload);
    const further = payload.byteLength - (form.most ?? payload.byteLength);
    return {
      ...form.fields(payload, this.deviceType),
      ...(further > 0 ? { further_bytes: further } : {}),
    };
  }
}

/** What is not as in every message: a version other than 1, and bits that nobody has defined. */
function flagNames(flags: number): string[] {
  const version = flags & VERSION_MASK;
  const unknown = (flags & ~FLAGS_KNOWN) >>> 0;
  return [
    ...(flags & FLAG_REPLY ? ["reply"] : []),
    ...(flags & FLAG_NEED_REPLY ? ["need_reply"] : []),
    ...(version === VERSION ? [] : [`version=${version}`]),
    ...(unknown === 0 ? [] : [`flags=${hex(unknown)}`]),
  ];
}

function asBytes(payload: Uint8Array): TraceFields {
  if (payload.byteLength === 0) return {};
  const bytes = Buffer.from(payload.subarray(0, MOST_BYTES)).toString("hex");
  return { size: payload.byteLength, bytes: payload.byteLength > MOST_BYTES ? `${bytes}…` : bytes };
}
