import { defineCommand, renderUsage } from "citty";
import type { Options } from "./options.ts";
import { cittyArgs, toCitty, type Verb } from "./verb.ts";
import type { VerbGroup } from "./verb-group.ts";

/** Help of one verb, with ANSI styles. */
export async function verbUsage(verb: Verb, globals: Options): Promise<string> {
  const command = toCitty(verb, globals, () => {});
  const words = verb.positional ? verb.options[verb.positional] : undefined;
  const positional =
    words && words.kind !== "flag"
      ? {
          [`${words.hint.toLowerCase()}…`]: {
            type: "positional" as const,
            required: false,
            description: `same as --${verb.positional}`,
          },
        }
      : {};
  const args = { ...positional, ...cittyArgs(verb.options), ...cittyArgs(globals) };
  const usage = await renderUsage({ ...command, args });
  const examples = (verb.examples ?? []).map((example) => `  ${example}\n`).join("");
  return `${usage.trimEnd()}\n${examples && `\nEXAMPLES\n\n${examples}`}`;
}

/** Help of the program, with ANSI styles. */
export function programUsage(verbs: readonly Named[], program: Options): Promise<string> {
  const meta = { name: "vdpactl", description: "Turn any virtio PCI device into a vhost-user back-end" };
  return usageOf(meta, verbs, program);
}

/** Help of a verb that has verbs of its own, with ANSI styles. */
export function groupUsage({ name, description, verbs }: VerbGroup, globals: Options): Promise<string> {
  const own = Object.entries(verbs).map(([word, verb]) => ({ name: word, description: verb.description }));
  return usageOf({ name: `vdpactl ${name}`, description }, own, globals);
}

type Named = Pick<Verb, "name" | "description">;

async function usageOf(meta: Named, verbs: readonly Named[], options: Options): Promise<string> {
  const subCommands = Object.fromEntries(
    verbs.map(({ name, description }) => [name, defineCommand({ meta: { name, description } })]),
  );
  const usage = await renderUsage(defineCommand({ meta, args: cittyArgs(options), subCommands }));
  return `${usage.trimEnd()}\n`;
}
