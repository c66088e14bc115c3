import { PROGRAM } from "../../src/cli/globals.ts";
import type { VerbTable } from "../../src/cli/verb-group.ts";
import { allCommands, commandTree } from "./command-tree.ts";
import { bashCompletion } from "./completions/bash.ts";
import { fishCompletion } from "./completions/fish.ts";
import { zshCompletion } from "./completions/zsh.ts";
import { type Edition, pageName, programPage, verbPage } from "./man-page.ts";

/** Files that follow from the command definitions: path below /usr/share, and text. */
export async function generatedDocuments(
  verbs: VerbTable,
  edition: Edition,
): Promise<ReadonlyMap<string, string>> {
  const tree = await commandTree(verbs);
  return new Map([
    ["man/man1/vdpactl.1", programPage(tree, PROGRAM, edition)],
    ...allCommands(tree).map(
      (command) => [`man/man1/${pageName(command.name)}.1`, verbPage(command, edition)] as const,
    ),
    ["bash-completion/completions/vdpactl", bashCompletion(tree, PROGRAM)],
    ["zsh/vendor-completions/_vdpactl", zshCompletion(tree, PROGRAM)],
    ["fish/vendor_completions.d/vdpactl.fish", fishCompletion(tree, PROGRAM)],
  ]);
}
