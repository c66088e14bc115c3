import type { Option, Options } from "../../../src/cli/options.ts";
import { type Command, spellings, type ValueKind, valueKind } from "../command-tree.ts";

/** Completion for zsh, for a directory of $fpath. */
export function zshCompletion(tree: readonly Command[], program: Options): string {
  return `#compdef vdpactl
# generated from vdpactl's command definitions

${dispatcher("_vdpactl", tree, program)}
${tree.map(commandFunction).join("\n")}
_vdpactl_devices() {
  local device
  local -a devices
  for device in /sys/bus/pci/devices/*(N); do
    [[ -r $device/vendor && $(<$device/vendor) == 0x1af4 ]] && devices+=(\${device:t})
  done
  compadd -a devices
}

_vdpactl "$@"
`;
}

const functionOf = (name: string) => `_vdpactl_${name.replaceAll(" ", "_")}`;
const lastWord = ({ name }: Command) => name.split(" ").at(-1)!;

function commandFunction(command: Command): string {
  const name = functionOf(command.name);
  if (command.verbs.length > 0) {
    return [dispatcher(name, command.verbs, command.options), ...command.verbs.map(commandFunction)].join(
      "\n",
    );
  }
  const { options, positional } = command;
  const kind = positional === undefined ? undefined : valueKind(options[positional]!);
  const words = kind ? [`'*:${positional}:${actionOf(kind)}'`] : [];
  return `${name}() {\n  _arguments -s ${[...specs(options), ...words].join(" \\\n    ")}\n}\n`;
}

/** A function that completes flags, then a verb, then leaves the rest to the verb's function. */
function dispatcher(name: string, verbs: readonly Command[], options: Options): string {
  const described = verbs.map((verb) => `${quoted(`${lastWord(verb)}:${verb.description}`)}`);
  return `${name}() {
  local curcontext=$curcontext state line
  local -a verbs
  verbs=(${described.join(" ")})
  _arguments -s -C ${specs(options).join(" \\\n    ")} \\
    '1:verb:->verb' '*::arguments:->arguments'
  case $state in
    verb) _describe verb verbs ;;
    arguments)
      case $line[1] in
${verbs.map((verb) => `        ${lastWord(verb)}) ${functionOf(verb.name)} ;;`).join("\n")}
      esac
      ;;
  esac
}
`;
}

/** One specification for each spelling; they exclude each other unless the option may be repeated. */
function specs(options: Options): string[] {
  return Object.entries(options).flatMap(([name, option]) => {
    const names = spellings(name, option);
    const before = option.kind === "list" ? "*" : `(${names.join(" ")})`;
    return names.map((word) =>
      quoted(`${before}${word}${takes(option, word)}[${explained(option)}]${value(option)}`),
    );
  });
}

const takes = (option: Option, word: string) => (valueKind(option) && word.startsWith("--") ? "=" : "");
const explained = ({ description }: Option) => description.replaceAll(/[[\]\\]/g, "\\$&");

function value(option: Option): string {
  const kind = valueKind(option);
  return kind && option.kind !== "flag"
    ? `:${option.hint.toLowerCase().replaceAll(":", "\\:")}:${actionOf(kind)}`
    : "";
}

function actionOf(kind: ValueKind): string {
  switch (kind.kind) {
    case "words":
      return `(${kind.words.join(" ")})`;
    case "device":
      return "_vdpactl_devices";
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    case "user":
      return "_users";
    case "group":
      return "_groups";
    case "free":
      return " ";
  }
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
