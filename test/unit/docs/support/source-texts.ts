import { readFileSync } from "node:fs";

const SRC = new URL("../../../../src/", import.meta.url).pathname;

/** Stands for what is only known when the program runs. */
export const VARIES = "…";

/** The source files with their texts as they are printed: in one piece, and with VARIES for each expression in them. */
export function sourceTexts(): string[] {
  return [...new Bun.Glob("**/*.ts").scanSync(SRC)].map((name) =>
    withoutExpressions(withoutComments(readFileSync(`${SRC}${name}`, "utf8"))).replaceAll(
      /["`] \+\s+["`]/g,
      "",
    ),
  );
}

const withoutComments = (source: string) =>
  source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");

/** Replaces each `${…}` of a template, which may have others within. */
function withoutExpressions(source: string): string {
  let text = "";
  let depth = 0;
  for (let i = 0; i < source.length; i++) {
    const opens = source.startsWith("${", i);
    if (depth === 0 && !opens) text += source[i];
    else if (depth === 0) {
      text += VARIES;
      depth = 1;
      i++;
    } else if (source[i] === "{") depth++;
    else if (source[i] === "}") depth--;
  }
  return text;
}
