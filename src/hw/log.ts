/**
 * Where the parts below the command line report events: one line per event, written at once. Implemented by
 * src/cli/log.ts; tests collect the lines.
 */
export interface Log {
  debug(text: string): void;
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}
