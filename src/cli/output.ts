import { columns } from "./columns.ts";
import { type Paint, painter, writeNow } from "./terminal.ts";

export interface OutputSettings {
  /** `text`, JSON on one line, or JSON with indentation. */
  readonly format: "text" | "json" | "pretty";
  readonly color: boolean;
  /** Standard output is a terminal, so that columns get headers. */
  readonly terminal: boolean;
}

/** What a verb prints: data, on standard output. One record gives both the text and the JSON. */
export class Output {
  readonly paint: Paint;

  /** @param write for tests; throws BrokenPipe when nobody reads */
  constructor(
    readonly settings: OutputSettings,
    readonly write: (text: string) => void = (text) => writeNow(1, text),
  ) {
    this.paint = painter(settings.color);
  }

  get isJson(): boolean {
    return this.settings.format !== "text";
  }

  /** Prints a record as JSON where that was asked for, else the text that `render` makes of it. */
  print(record: unknown, render: () => string): void {
    if (this.isJson) {
      this.write(JSON.stringify(record, null, this.settings.format === "pretty" ? 2 : undefined) + "\n");
      return;
    }
    const text = render();
    if (text !== "") this.write(text.endsWith("\n") ? text : text + "\n");
  }

  /** Rows as columns; the headers only on a terminal, so that scripts see data alone. */
  columns(headers: readonly string[], rows: readonly (readonly string[])[]): string {
    const head = headers.map((header) => this.paint("bold", header));
    return columns(this.settings.terminal ? [head, ...rows] : rows);
  }
}
