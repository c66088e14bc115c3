import { readFileSync } from "node:fs";

/** Seconds since the VM's kernel started. */
export const uptime = (): number => Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
