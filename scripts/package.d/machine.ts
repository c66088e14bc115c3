import { openSync, readSync } from "node:fs";

/** Machines that packages are built for, as Debian and Bun name them, with the machine number in an ELF header. */
export const MACHINES = {
  amd64: { bunTarget: "bun-linux-x64", bunPackage: "@oven/bun-linux-x64", elfMachine: 62 },
  arm64: { bunTarget: "bun-linux-arm64", bunPackage: "@oven/bun-linux-aarch64", elfMachine: 183 },
} as const;

export type Architecture = keyof typeof MACHINES;

export const isArchitecture = (name: string): name is Architecture => Object.hasOwn(MACHINES, name);

export const hostArchitecture: Architecture = process.arch === "arm64" ? "arm64" : "amd64";

/** The machine number of an ELF file (e_machine, 2 bytes at 18). @throws Error for other files */
export function elfMachine(path: string): number {
  const header = new Uint8Array(20);
  readSync(openSync(path, "r"), header, 0, 20, 0);
  if (Buffer.from(header.subarray(0, 4)).toString("latin1") !== "\x7fELF")
    throw new Error(`${path} is no ELF file`);
  return header[18]! | (header[19]! << 8);
}
