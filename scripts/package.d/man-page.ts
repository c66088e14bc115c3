import type { Option, Options } from "../../src/cli/options.ts";
import { type Command, spellings } from "./command-tree.ts";

/** What stands on every page. */
export interface Edition {
  readonly version: string;
  /** ISO 8601 day. */
  readonly date: string;
}

const EXIT_CODES: readonly (readonly [string, string])[] = [
  ["0", "done"],
  ["1", "it failed"],
  ["2", "wrong arguments, environment or configuration file"],
  ["3", "the device or the host is not ready: no IOMMU, no permission, not bound"],
  ["4", "refused for safety; --force overrides"],
  ["5", "the peer broke the vhost-user protocol"],
  ["6", "the guest can not move there, or its move did not converge"],
  ["130", "interrupted by SIGINT"],
];

export const pageName = (command: string) => `vdpactl${command && "-"}${command.replaceAll(" ", "-")}`;

/** The page of a verb or of a group of verbs, as roff (man(7)). */
export function verbPage(command: Command, edition: Edition): string {
  const { name, description, options, positional, tables, examples, verbs } = command;
  const words = positional === undefined ? undefined : options[positional];
  const rest = words && words.kind !== "flag" ? `[\\fI${roff(words.hint)}\\fR ...]` : "";
  return [
    ...head(pageName(name), `vdpactl ${name}`, description, edition),
    `.B vdpactl ${roff(name)}`,
    verbs.length > 0 ? ".I verb\n.RI [ flags ]" : `.RI [ flags ]${rest && `\n${rest}`}`,
    ...verbSection(verbs),
    ".SH OPTIONS",
    ...optionList(options),
    ...(positional === undefined ? [] : [".PP", text(`Words without a flag are values of --${positional}.`)]),
    ...(tables ? tableSection(tables) : []),
    ...exampleSection(examples),
    ...exitSection(),
    ".SH SEE ALSO",
    [".BR vdpactl (1)", ...verbs.map((verb) => `.BR ${roff(pageName(verb.name))} (1)`)].join(",\n"),
    "",
  ].join("\n");
}

/** The program's own page. */
export function programPage(tree: readonly Command[], program: Options, edition: Edition): string {
  return [
    ...head("vdpactl", "vdpactl", "turn any virtio PCI device into a vhost-user back-end", edition),
    ".B vdpactl\n.RI [ flags ]\n.I verb\n.RI [ flags ]",
    ".SH DESCRIPTION",
    text(
      "Serves a virtio network device to a vhost-user front-end, such as a QEMU guest or a DPDK application, from user space through VFIO. The device reads and writes the guest's own rings; the kernel passes doorbells and interrupts on.",
    ),
    ...verbSection(tree),
    ".SH OPTIONS",
    ...optionList(program),
    ".SH ENVIRONMENT",
    tagged(
      "\\fBVDPACTL_\\fIFLAG\\fR",
      "the value of a flag that is not given: VDPACTL_SOCKET_MODE is that of --socket-mode. Flags without a value are switched with 1 and 0.",
    ),
    tagged("\\fBNO_COLOR\\fR", "no colours, whatever its value"),
    ".SH FILES",
    tagged(
      "\\fI/etc/vdpactl/BDF.toml\\fR",
      "settings of the service vdpactl@BDF: the flags of serve by their names",
    ),
    tagged("\\fI/run/vdpactl\\fR", "control sockets of running daemons"),
    ...exitSection(),
    ".SH SEE ALSO",
    tree.map((verb) => `.BR ${roff(pageName(verb.name))} (1)`).join(",\n"),
    "",
  ].join("\n");
}

function head(page: string, name: string, description: string, { version, date }: Edition): string[] {
  return [
    `.TH ${page.toUpperCase()} 1 ${date} "vdpactl ${version}" "User Commands"`,
    ".SH NAME",
    `${roff(name.replaceAll(" ", "-"))} \\- ${roff(description)}`,
    ".SH SYNOPSIS",
  ];
}

const verbSection = (verbs: readonly Command[]) =>
  verbs.length === 0
    ? []
    : [".SH COMMANDS", ...verbs.map((verb) => tagged(`\\fB${roff(verb.name)}\\fR`, verb.description))];

const optionList = (options: Options) =>
  Object.entries(options).map(([name, option]) => tagged(usage(name, option), describe(option)));

function usage(name: string, option: Option): string {
  const names = spellings(name, option).map((word) => `\\fB${roff(word)}\\fR`);
  if (option.kind === "flag") return names.join(", ");
  const hint = `\\fI${roff(option.hint)}\\fR`;
  return `${names.join(", ")} ${option.kind === "value" && option.implied !== undefined ? `[${hint}]` : hint}`;
}

function describe(option: Option): string {
  const words = option.kind === "flag" ? undefined : (option.parse as { words?: readonly string[] }).words;
  const notes = [
    ...(words ? [`one of ${words.join(", ")}`] : []),
    ...(option.kind === "list" ? ["may be repeated"] : []),
  ];
  return notes.length === 0 ? option.description : `${option.description} (${notes.join("; ")})`;
}

const exampleSection = (examples: readonly string[]) =>
  examples.length === 0 ? [] : [".SH EXAMPLES", ".nf", ...examples.map(text), ".fi"];

const tableSection = ({ name, own }: NonNullable<Command["tables"]>) => [
  `.SH SEVERAL ${name.toUpperCase()}S`,
  text(
    `The file of --config may describe several, each in a table [[${name}]] of its own with flags by their names. Flags outside the tables hold for all, but for those that only a table may set then: ${own.map((flag) => `--${flag}`).join(", ")}.`,
  ),
];

const exitSection = () => [".SH EXIT STATUS", ...EXIT_CODES.map(([code, meaning]) => tagged(code, meaning))];

const tagged = (tag: string, body: string) => `.TP\n${tag}\n${text(body)}`;

/** Text as roff shows it unchanged: no hyphen becomes a dash, no line a request. */
const roff = (plain: string) =>
  plain.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq").replaceAll("…", "...");
const text = (plain: string) => roff(plain).replace(/^(?=[.'])/, "\\&");
