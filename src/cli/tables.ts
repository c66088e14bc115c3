import { usageError } from "./arguments.ts";
import type { ConfigFile } from "./config-file.ts";
import type { Options, OptionValues } from "./options.ts";
import { resolveOptions, type Source } from "./resolve.ts";
import type { TableSpec, TableValues } from "./verb.ts";

/**
 * The values of each repeated table. What is given on the command line or in the environment wins over all tables, a
 * table over the rest of its file.
 * @param given the sources that come before the file
 * @throws OperatorError (usage) for a value that only a table may have but that comes from elsewhere
 */
export function resolveTables<T extends Options>(
  { name, options, own }: TableSpec<T>,
  given: readonly Source[],
  { source, tables }: ConfigFile,
): TableValues<T>[] {
  if (tables.length === 0) return [];
  for (const elsewhere of [...given, source]) {
    const wrong = own.find((option) => elsewhere.values.has(option));
    if (wrong === undefined) continue;
    throw usageError(
      `${elsewhere.spell(wrong)} does not go with tables [[${name}]]`,
      `each of the ${tables.length} tables has its own`,
    );
  }
  return tables.map(({ where, source: table }) => ({
    where,
    options: resolveOptions(options, [...given, table, source]) as OptionValues<T>,
  }));
}
