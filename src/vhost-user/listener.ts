import { isErrno } from "../hw/ffi/errno.ts";
import { EPOLLIN } from "../hw/ffi/event-loop.ts";
import { closeFd, setNonBlocking } from "../hw/ffi/fd.ts";
import { acceptUnix, connectUnix } from "../hw/ffi/unix-socket.ts";
import { messageOf, OperatorError } from "../hw/operator-error.ts";
import type { VdpaDevice } from "../vdpa/vdpa-device.ts";
import { type CounterSink, FrontEnd, type FrontEndContext } from "./front-end.ts";
import { RetryTimer } from "./retry-timer.ts";
import type { Session } from "./session.ts";
import { describeSession, type FrontEndState } from "./session-state.ts";
import { type SocketAccess, SocketFile, type SocketKeeping } from "./socket-file.ts";

export interface FrontEndServerOptions extends Readonly<Omit<FrontEndContext, "counters">> {
  readonly counters?: CounterSink | undefined;
  /** The socket listens, or a connection given by fd is served. */
  readonly onListening?: (() => void) | undefined;
  readonly onConnect?: (() => void) | undefined;
  readonly onDisconnect?: (() => void) | undefined;
  /** A single connection given by `listenFd` has ended: nobody can come any more. With what the front-end did wrong. */
  readonly onEnd?: ((fault: OperatorError | undefined) => void) | undefined;
}

/** Messages of a front-end that are looked at to find out whether it has gone when another one knocks. */
const DRAIN_LIMIT = 10_000;

/**
 * Serves one device to front-ends over vhost-user, one at a time, for ever. Everything runs on the given loop; when
 * a front-end goes, the device is reset, its memory unmapped and every fd closed before the next one is served.
 *
 *     const server = new FrontEndServer({ loop, device, log, counters });
 *     server.listen("/run/vm1.sock", { mode: 0o660, gid });  // or .listenFd(3), or .connect("/run/qemu.sock")
 *     loop.run();
 *     server.close();
 *
 * `listen` and `listenFd` throw an OperatorError when the socket can not be had; `connect` tries again for ever.
 */
export class FrontEndServer {
  readonly #context: FrontEndContext;
  #frontEnd: FrontEnd | undefined;
  #socketFile: SocketFile | undefined;
  /** Listening socket; -1 in the client role. */
  #listenFd = -1;
  #clientPath: string | undefined;
  #retry: RetryTimer | undefined;
  #lastProblem: string | undefined;
  #closed = false;

  constructor(private readonly options: FrontEndServerOptions) {
    this.#context = { ...options, counters: options.counters ?? { add: () => {} } };
  }

  get connected(): boolean {
    return this.#frontEnd !== undefined;
  }

  /** What the connected front-end has set up, for statistics; undefined when none is connected. */
  get state(): FrontEndState | undefined {
    return this.#frontEnd && describeSession(this.#frontEnd.session);
  }

  /** The connected front-end's session. */
  get session(): Session | undefined {
    return this.#frontEnd?.session;
  }

  /**
   * Serves another device from now on, to which `move` brings a connected front-end's rings. With an error the device
   * stays the one before.
   */
  moveTo(device: VdpaDevice, move: () => void): void {
    const change = () => {
      this.#context.onChange?.();
      move();
      this.#context.device = device;
    };
    if (this.session) this.session.moveBy(change);
    else change();
  }

  /** Relays all rings from now on, or lets the device take over those that it can. */
  holdInRelay(on: boolean): void {
    if (this.session) this.session.holdInRelay(on);
    else this.#context.device.holdInRelay(on);
  }

  /** The listening socket, which stays ours; undefined where there is none. */
  get listeningFd(): number | undefined {
    return this.#listenFd < 0 ? undefined : this.#listenFd;
  }

  /** Listens on a path. A file that a dead process left there is replaced, anything else refused. */
  listen(path: string, access: SocketAccess & SocketKeeping = {}): void {
    this.#socketFile = SocketFile.listen(path, access);
    this.#startListening(this.#socketFile.fd);
  }

  /** Serves on an inherited fd: a listening socket, or one connected front-end. Takes the fd over. */
  listenFd(fd: number): void {
    let first: number | undefined;
    try {
      setNonBlocking(fd);
      first = acceptUnix(fd);
    } catch (error) {
      // EINVAL: a stream socket that does not listen, so it is connected.
      if (isErrno(error, "EINVAL")) {
        this.#serve(fd);
        this.options.onListening?.();
        return;
      }
      throw new OperatorError(`fd ${fd}`, {
        why: isErrno(error, "EBADF") ? "it is not open" : `it is no Unix stream socket (${messageOf(error)})`,
        remedy: "pass a listening or connected Unix stream socket",
        kind: "usage",
        cause: error,
      });
    }
    this.#startListening(fd);
    if (first !== undefined) this.#admit(first);
  }

  /** The client role: connects to a front-end that listens, again and again. */
  connect(path: string): void {
    this.#clientPath = path;
    this.#retry = new RetryTimer(this.options.loop, () => this.#tryConnect(path));
    this.#tryConnect(path);
  }

  /** Ends the connection, closes and removes the socket. The device is left reset. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#frontEnd?.close();
    this.#retry?.close();
    if (this.#listenFd >= 0) this.options.loop.remove(this.#listenFd);
    if (this.#socketFile) this.#socketFile.close();
    else closeFd(this.#listenFd);
    this.#listenFd = -1;
  }

  #startListening(fd: number): void {
    this.#listenFd = fd;
    // Only armed when accepting fails, for example for want of fds.
    this.#retry = new RetryTimer(this.options.loop, () => this.#watchListener());
    this.#watchListener();
    this.options.onListening?.();
  }

  #watchListener(): void {
    this.options.loop.add(this.#listenFd, EPOLLIN, () => this.#accept());
  }

  #accept(): void {
    try {
      for (let fd = acceptUnix(this.#listenFd); fd !== undefined; fd = acceptUnix(this.#listenFd)) {
        this.#admit(fd);
      }
      this.#retry?.reset();
      this.#lastProblem = undefined;
    } catch (error) {
      // The connection stays in the backlog and would wake the loop at once: look away for a while.
      this.options.loop.remove(this.#listenFd);
      this.#report(`a front-end can not be accepted: ${messageOf(error)}`);
      this.#retry?.wait();
    }
  }

  /** Serves a new connection, or turns it away when there is a front-end already. */
  #admit(fd: number): void {
    // The old one may have gone without our having looked yet: a quick reconnect must not be turned away.
    this.#frontEnd?.connection.serve(DRAIN_LIMIT);
    if (!this.#frontEnd) {
      this.#serve(fd);
      return;
    }
    closeFd(fd);
    this.#context.counters.add("refused_connections");
    this.options.log.warn("turned away a second front-end: one is connected already", {
      event: "front_end_turned_away",
    });
  }

  #serve(fd: number): void {
    this.#context.counters.add("connections");
    this.options.log.info("front-end connected", { event: "front_end_connected" });
    this.#frontEnd = new FrontEnd(this.#context, fd, (frontEnd, why) => this.#onGone(frontEnd, why));
    this.options.onConnect?.();
  }

  #onGone(frontEnd: FrontEnd, why: Error | undefined): void {
    this.#frontEnd = undefined;
    this.options.onDisconnect?.();
    if (this.#closed) return;
    if (this.#clientPath !== undefined) {
      // A front-end that hangs up at once, every time, is asked ever more seldom.
      if (frontEnd.messages > 0) this.#retry?.reset();
      this.#retry?.wait();
    } else if (this.#listenFd < 0) this.options.onEnd?.(faultIn(why));
  }

  #tryConnect(path: string): void {
    let fd: number;
    try {
      fd = connectUnix(path);
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ECONNREFUSED", "EAGAIN", "EACCES", "EPERM", "EMFILE", "ENFILE"))
        throw error;
      this.#report(`waiting for a front-end: ${messageOf(error)}`);
      this.#retry?.wait();
      return;
    }
    this.#lastProblem = undefined;
    this.#serve(fd);
  }

  /** One line for a problem that lasts, not one for each attempt. */
  #report(problem: string): void {
    if (problem !== this.#lastProblem)
      this.options.log.warn(problem, { event: "front_end_unreachable", reason: problem });
    this.#lastProblem = problem;
  }
}

/** The error of an end that the front-end is to blame for; that its process was killed is none. */
function faultIn(why: Error | undefined): OperatorError | undefined {
  if (why === undefined || isErrno(why, "ECONNRESET", "EPIPE")) return undefined;
  const kind = why instanceof OperatorError ? why.kind : undefined;
  return new OperatorError("the front-end was disconnected, and no other can come", {
    why: why.message,
    kind,
    cause: why,
  });
}
