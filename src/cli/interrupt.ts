import { EXIT } from "./exit-code.ts";

/**
 * A signal that the first SIGINT aborts, so that a verb can clean up; the second one ends the process at once.
 * `stop` gives SIGINT its default meaning back.
 */
export function interruptSignal(): { signal: AbortSignal; stop: () => void } {
  const controller = new AbortController();
  const listener = () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort(new DOMException("interrupted", "AbortError"));
  };
  process.on("SIGINT", listener);
  return { signal: controller.signal, stop: () => process.off("SIGINT", listener) };
}
