import type { EventLoop } from "../../hw/ffi/event-loop.ts";
import type { Trace } from "../../hw/trace.ts";
import { Connection, type ConnectionEvents } from "../connection.ts";
import { backendRequestName, requestName } from "../protocol.ts";
import { type ChannelName, MessageTrace } from "./message-trace.ts";
import { TracedConnection } from "./traced-connection.ts";

const NAMES = { main: requestName, back: backendRequestName } as const;

/** What a channel of vhost-user is opened with. */
export interface ChannelPlace {
  readonly loop: EventLoop;
  /** Undefined where messages are not told of. */
  readonly trace?: Trace | undefined;
  /** Virtio device type. */
  readonly deviceType: number;
}

/** Opens a channel; takes over the fd, a non-blocking socket. */
export function openConnection(
  channel: ChannelName,
  { loop, trace, deviceType }: ChannelPlace,
  fd: number,
  events: ConnectionEvents,
): Connection {
  const nameOf = NAMES[channel];
  if (!trace) return new Connection(loop, fd, events, nameOf);
  return new TracedConnection(loop, fd, events, nameOf, new MessageTrace(trace, channel, deviceType));
}
