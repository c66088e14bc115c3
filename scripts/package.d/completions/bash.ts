import type { Options } from "../../../src/cli/options.ts";
import { allCommands, type Command, spellings, type ValueKind, valueKind } from "../command-tree.ts";

/** Completion for bash. It reads the line itself, as bash splits PCI addresses at their colons. */
export function bashCompletion(tree: readonly Command[], program: Options): string {
  const commands = allCommands(tree);
  return `# bash completion for vdpactl, generated from its command definitions
_vdpactl() {
  local line=\${COMP_LINE:0:COMP_POINT} words=() cur prev command= word skip= flags=
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  cur=\${words[-1]} prev=\${words[-2]}
  [[ $cur == --*=* ]] && prev=\${cur%%=*} cur=\${cur#*=}
  for word in "\${words[@]:1:\${#words[@]}-2}"; do
    if [[ $skip ]]; then skip=; continue; fi
    case $word in
      --config) skip=1 ;;
      -*) ;;
      *)
        case "\${command:+$command }$word" in
          ${commands.map(({ name }) => quoted(name)).join("|")}) command+="\${command:+ }$word" ;;
        esac
        ;;
    esac
  done
  COMPREPLY=()
  case "$command:$prev" in
${valueCases("*", program)}
${commands.map(({ name, options }) => valueCases(quoted(name), options)).join("\n")}
  esac
  case $command in
    "") ${offer(tree.map(({ name }) => name))} flags=${quoted(flagsOf(program))} ;;
${commands.map(commandCase).join("\n")}
  esac
  [[ $cur == -* ]] && COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  _vdpactl_after_colon
}

# Bash replaces only what stands behind the last colon of the word.
_vdpactl_after_colon() {
  [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]] || return 0
  local before=\${cur%"\${cur##*:}"}
  COMPREPLY=("\${COMPREPLY[@]#"$before"}")
}

_vdpactl_devices() {
  local device
  for device in /sys/bus/pci/devices/*; do
    [[ -r $device/vendor && $(<"$device/vendor") == 0x1af4 ]] && printf '%s\\n' "\${device##*/}"
  done
}

complete -F _vdpactl vdpactl
`;
}

const quoted = (text: string) => `"${text}"`;
const offer = (words: readonly string[]) => `COMPREPLY=($(compgen -W ${quoted(words.join(" "))} -- "$cur"));`;

const flagsOf = (options: Options) =>
  Object.entries(options)
    .flatMap(([name, option]) => spellings(name, option))
    .join(" ");

function valueCases(command: string, options: Options): string {
  return Object.entries(options)
    .flatMap(([name, option]) => {
      const kind = valueKind(option);
      if (!kind) return [];
      const patterns = spellings(name, option).map((word) => `${command}:${word}`);
      return [`    ${patterns.join("|")}) ${valuesOf(kind)} _vdpactl_after_colon; return ;;`];
    })
    .join("\n");
}

function valuesOf(kind: ValueKind): string {
  switch (kind.kind) {
    case "words":
      return offer(kind.words);
    case "device":
      return `COMPREPLY=($(compgen -W "$(_vdpactl_devices)" -- "$cur"));`;
    case "file":
    case "directory":
      return `compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -${kind.kind === "file" ? "f" : "d"} -- "$cur");`;
    case "user":
    case "group":
      return `COMPREPLY=($(compgen -A ${kind.kind} -- "$cur"));`;
    case "free":
      return "";
  }
}

function commandCase({ name, options, positional, verbs }: Command): string {
  const flags = `flags=${quoted(flagsOf(options))}`;
  const words = verbs.map((verb) => verb.name.split(" ").at(-1)!);
  if (words.length > 0) return `    ${quoted(name)}) ${offer(words)} ${flags} ;;`;
  const kind = positional === undefined ? undefined : valueKind(options[positional]!);
  return `    ${quoted(name)}) ${kind ? `${valuesOf(kind)} ` : ""}${flags} ;;`;
}
