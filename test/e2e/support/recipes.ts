import { readFileSync } from "node:fs";

const GUIDE = new URL("../../../docs/guide.md", import.meta.url);

/** The code of a recipe of docs/guide.md, so that what stands there is what is executed. */
export function recipe(name: string): string {
  const found = new RegExp(`<!-- recipe: ${name} -->\n\`\`\`\\w+\n([\\s\\S]*?)\n\`\`\``).exec(
    readFileSync(GUIDE, "utf8"),
  );
  if (!found) throw new Error(`docs/guide.md has no recipe ${name}`);
  return found[1]!;
}

/** Replaces each piece; throws where one is not there, as the recipe would then be executed as something else. */
export function adapt(code: string, pieces: Readonly<Record<string, string>>): string {
  return Object.entries(pieces).reduce((text, [piece, by]) => {
    if (!text.includes(piece)) throw new Error(`"${piece}" is not in the recipe:\n${text}`);
    return text.replaceAll(piece, by);
  }, code);
}

/** The words of a command line of several lines. */
export const words = (command: string): string[] =>
  command.replaceAll("\\\n", " ").split(/\s+/).filter(Boolean);
