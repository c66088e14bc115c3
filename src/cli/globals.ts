import { flag, value } from "./options.ts";
import { oneOf, text } from "./values.ts";

/** Flags that every verb has; they may stand before or after it. */
export const GLOBALS = {
  json: flag("print JSON, on one line", { alias: ["j"] }),
  pretty: flag("print JSON with indentation", { alias: ["p"] }),
  quiet: flag("say only what is wrong", { alias: ["q"] }),
  verbose: flag("say more", { alias: ["v"] }),
  "no-color": flag("no colours"),
  "log-format": value("FORMAT", oneOf("text", "json"), "how the lines of the log look"),
  config: value("FILE", text, "take values from this TOML file"),
  help: flag("show this help", { alias: ["h"] }),
} as const;

/** Only in front of the verb. */
export const PROGRAM = { ...GLOBALS, version: flag("show the version", { alias: ["V"] }) } as const;
