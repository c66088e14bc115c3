import { type ChildProcess, spawn } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Ran, runToEnd } from "./run-to-end.ts";

/** libvirt has a session mode for users other than root; this one has no home that we could disturb. */
const NOBODY = 65534;
const START_MS = 60_000;

/** A libvirt of our own, in its session mode: its daemon, and virsh to talk to it. */
export class SessionLibvirt {
  /** Where its QEMU may make sockets. */
  readonly directory = mkdtempSync(join(tmpdir(), "vdpactl-libvirt-"));
  readonly #as =
    process.getuid!() === 0 ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : [];
  readonly #env: Record<string, string>;
  readonly #ended: Promise<unknown>;
  readonly #daemon: ChildProcess;
  readonly #domains: string[] = [];

  private constructor() {
    const folders = {
      HOME: "home",
      XDG_RUNTIME_DIR: "run",
      XDG_CONFIG_HOME: "config",
      XDG_CACHE_HOME: "cache",
    };
    const paths = Object.entries(folders).map(
      ([variable, name]) => [variable, join(this.directory, name)] as const,
    );
    for (const path of [...paths.map(([, path]) => path), this.directory]) {
      mkdirSync(path, { recursive: true });
      if (this.#as.length > 0) chownSync(path, NOBODY, NOBODY);
    }
    this.#env = { PATH: `${process.env["PATH"]}:/usr/sbin`, ...Object.fromEntries(paths) };
    const [program, ...args] = [...this.#as, "libvirtd"];
    this.#daemon = spawn(program!, args, { env: this.#env, stdio: "ignore", cwd: "/" });
    this.#ended = new Promise((resolve) => this.#daemon.on("close", resolve).on("error", resolve));
  }

  static async start(): Promise<SessionLibvirt> {
    const libvirt = new SessionLibvirt();
    const deadline = performance.now() + START_MS;
    for (;;) {
      const { code, err } = await libvirt.#virsh("uri");
      if (code === 0) return libvirt;
      if (performance.now() > deadline) {
        await libvirt.close();
        throw new Error(`libvirtd does not answer: ${err}`);
      }
      await Bun.sleep(100);
    }
  }

  /** Checks a domain against libvirt's schema and starts it. @returns the end of what QEMU's monitor says of it */
  async create(name: string, xml: string): Promise<void> {
    const file = join(this.directory, `${name}.xml`);
    writeFileSync(file, xml);
    const valid = await runToEnd(["virt-xml-validate", file, "domain"]);
    if (valid.code !== 0) throw new Error(`${valid.out}${valid.err}`);
    const { code, err } = await this.#virsh("create", file);
    if (code !== 0) throw new Error(err);
    this.#domains.push(name);
  }

  /** What QEMU's own monitor answers. */
  async monitor(name: string, command: string): Promise<string> {
    const { code, out, err } = await this.#virsh("qemu-monitor-command", "--hmp", name, command);
    if (code !== 0) throw new Error(err);
    return out;
  }

  async close(): Promise<void> {
    for (const name of this.#domains) await this.#virsh("destroy", name);
    this.#daemon.kill("SIGTERM");
    await this.#ended;
    rmSync(this.directory, { recursive: true, force: true });
  }

  #virsh(...args: readonly string[]): Promise<Ran> {
    return runToEnd([...this.#as, "virsh", "-c", "qemu:///session", ...args], { env: this.#env, cwd: "/" });
  }
}
