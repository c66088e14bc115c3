import type { Log } from "../hw/log.ts";

/** The same log for one device: its lines say which, and begin with it where the process serves several. */
export function deviceLog(log: Log, device: string, { inText }: { readonly inText: boolean }): Log {
  const about = (text: string) => (inText ? `${device}: ${text}` : text);
  return {
    debug: (text, event) => log.debug(about(text), { device, ...event }),
    info: (text, event) => log.info(about(text), { device, ...event }),
    warn: (text, event) => log.warn(about(text), { device, ...event }),
    error: (text, event) => log.error(about(text), { device, ...event }),
  };
}
