import type { Options } from "../../../src/cli/options.ts";
import { type Command, type ValueKind, valueKind } from "../command-tree.ts";

/** Completion for fish. */
export function fishCompletion(tree: readonly Command[], program: Options): string {
  return [
    "# fish completion for vdpactl, generated from its command definitions",
    "function __vdpactl_devices",
    "    for device in /sys/bus/pci/devices/*",
    "        if test (cat $device/vendor 2>/dev/null) = 0x1af4",
    "            basename $device",
    "        end",
    "    end",
    "end",
    "complete -c vdpactl -f",
    ...flagLines("__fish_use_subcommand", program),
    ...tree.flatMap((command) => [
      `complete -c vdpactl -n __fish_use_subcommand -a ${command.name} -d ${quoted(command.description)}`,
      ...(command.verbs.length > 0 ? groupLines(command) : verbLines(command, at(command.name))),
    ]),
    "",
  ].join("\n");
}

const at = (word: string) => `__fish_seen_subcommand_from ${word}`;
const lastWord = ({ name }: Command) => name.split(" ").at(-1)!;

function groupLines(group: Command): string[] {
  const words = group.verbs.map(lastWord);
  const outside = `${at(group.name)}; and not ${at(words.join(" "))}`;
  return group.verbs.flatMap((verb) => [
    `complete -c vdpactl -n ${quoted(outside)} -a ${lastWord(verb)} -d ${quoted(verb.description)}`,
    ...verbLines(verb, `${at(group.name)}; and ${at(lastWord(verb))}`),
  ]);
}

function verbLines({ options, positional }: Command, condition: string): string[] {
  const kind = positional === undefined ? undefined : valueKind(options[positional]!);
  const words = kind ? [`complete -c vdpactl -n ${quoted(condition)} ${argumentsOf(kind)}`] : [];
  return [...flagLines(condition, options), ...words];
}

function flagLines(condition: string, options: Options): string[] {
  return Object.entries(options).map(([name, option]) => {
    const names = [name, ...(option.alias ?? [])].map((word) => `-${word.length === 1 ? "s" : "l"} ${word}`);
    const kind = valueKind(option);
    const value = kind ? ` ${kind.kind === "file" ? "-r" : "-x"} ${argumentsOf(kind)}` : "";
    return `complete -c vdpactl -n ${quoted(condition)} ${names.join(" ")}${value} -d ${quoted(option.description)}`;
  });
}

function argumentsOf(kind: ValueKind): string {
  switch (kind.kind) {
    case "words":
      return `-a ${quoted(kind.words.join(" "))}`;
    case "device":
      return '-a "(__vdpactl_devices)"';
    case "file":
      return "-F";
    case "directory":
      return '-a "(__fish_complete_directories)"';
    case "user":
      return '-a "(__fish_complete_users)"';
    case "group":
      return '-a "(__fish_complete_groups)"';
    case "free":
      return "";
  }
}

/** Between single quotes fish knows only the backslash and the quote. */
const quoted = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
