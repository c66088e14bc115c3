import { lstatSync, rmSync } from "node:fs";
import type { Meeting } from "./messages.ts";

/** The file of a listening socket, to be removed in place of a thread that can no longer do it. */
export class LeftSocket {
  readonly #path: string | undefined;
  #file: { readonly ino: number; readonly dev: number } | undefined;

  constructor(meeting: Meeting) {
    this.#path = meeting.role === "server" && !meeting.keep ? meeting.path : undefined;
  }

  /** The thread listens: the file that is there now is its own. */
  note(): void {
    this.#file = this.#path === undefined ? undefined : lstatSync(this.#path, { throwIfNoEntry: false });
  }

  /** Removes the file while it is still the noted one. */
  remove(): void {
    if (this.#path === undefined || !this.#file) return;
    const now = lstatSync(this.#path, { throwIfNoEntry: false });
    if (now?.ino === this.#file.ino && now.dev === this.#file.dev) rmSync(this.#path, { force: true });
    this.#file = undefined;
  }
}
