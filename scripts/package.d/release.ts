import { readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };

export interface Release {
  readonly version: string;
  /** Seconds since 1970 that all files of the package bear: SOURCE_DATE_EPOCH, else the changelog's date. */
  readonly epoch: number;
}

const TOP = /^vdpactl \((?<version>[^)]+)\) [\s\S]*?^ -- [^>]*> {2}(?<date>.+)$/m;

/** @throws Error when the Debian changelog is about another version than package.json */
export function readRelease(root: string): Release {
  const { version, date } =
    TOP.exec(readFileSync(join(root, "packaging/debian/changelog"), "utf8"))?.groups ?? {};
  if (version !== packageJson.version) {
    throw new Error(
      `packaging/debian/changelog is about ${version}, package.json about ${packageJson.version}`,
    );
  }
  const epoch = Number(process.env["SOURCE_DATE_EPOCH"] || Date.parse(date!) / 1000);
  if (!Number.isInteger(epoch) || epoch < 0) throw new Error("SOURCE_DATE_EPOCH is no number of seconds");
  return { version, epoch };
}
