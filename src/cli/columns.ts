/**
 * Rows as columns that are parted by two blanks, without borders. Empty cells show as `-`, the last column is not
 * padded. Widths are those on a terminal: colours count nothing, wide characters two.
 */
export function columns(rows: readonly (readonly string[])[]): string {
  const shown = rows.map((row) => row.map((cell) => cell || "-"));
  const widths: number[] = [];
  for (const row of shown) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, Bun.stringWidth(cell));
  }
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell + " ".repeat(widths[i]! - Bun.stringWidth(cell))))
      .join("  ");
  return shown.map((row) => line(row) + "\n").join("");
}
