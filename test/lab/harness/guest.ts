// A nested guest: QEMU inside the VM with vhost-user-net NICs, and a shell on its serial console.
import { existsSync } from "node:fs";
import { freeHugepages } from "./hugepages.ts";
import { Program } from "./program.ts";
import { Qmp } from "./qmp.ts";
import { GENEROUS_SECONDS, until } from "./until.ts";

export interface GuestOptions {
  name: string;
  /** Where the back-end listens. */
  socket: string;
  mac: string;
  pairs?: number;
  packed?: boolean;
  mebibytes?: number;
  /** Memory modules that can be plugged in while it runs (`plugMemory`). */
  slots?: number;
  /** More options of the NIC, such as "host_mtu=1400". */
  nic?: string;
  /** Instead of booting, take over the guest that migrates to this address, such as "unix:/tmp/migration.sock". */
  incoming?: string;
}

/** The answer to query-migrate, as far as it is used. Times in milliseconds. */
export interface MigrationInfo {
  status: string;
  downtime?: number;
  "total-time"?: number;
  "error-desc"?: string;
}

export interface GuestAnswer {
  code: number;
  output: string;
}

const BOOT_SECONDS = 600;
const SLOW_MIGRATION_MS = 20_000;

const NESTED = "/lab/nested";

function nicArguments({ socket, mac, pairs = 1, packed = false, nic }: GuestOptions): string[] {
  const several = pairs > 1 ? `,queues=${pairs}` : "";
  const device = [
    `virtio-net-pci,netdev=net,mac=${mac},disable-legacy=on,romfile=`,
    `mq=${pairs > 1 ? "on" : "off"},vectors=${2 * pairs + 2},packed=${packed ? "on" : "off"}`,
    ...(nic === undefined ? [] : [nic]),
  ];
  return [
    ...["-chardev", `socket,id=back-end,path=${socket}`],
    ...["-netdev", `vhost-user,id=net,chardev=back-end${several}`, "-device", device.join(",")],
  ];
}

export class Guest {
  #commands = 0;

  private constructor(
    readonly program: Program,
    readonly qmp: Qmp,
  ) {}

  /** Starts QEMU and waits for the guest's shell. */
  static async boot(options: GuestOptions): Promise<Guest> {
    const mebibytes = options.mebibytes ?? 96;
    const size = `${mebibytes}M`;
    freeHugepages(Math.ceil(mebibytes / 2));
    const room = options.slots ? `,slots=${options.slots},maxmem=1G` : "";
    const monitor = `/tmp/${options.name}.qmp`;
    const program = new Program(options.name, [
      ...["qemu-system-x86_64", "-M", "pc", "-nodefaults", "-no-user-config", "-display", "none"],
      ...["-accel", "tcg,thread=multi,tb-size=128", "-cpu", "qemu64", "-m", size + room],
      // For a machine that can have one CPU only, TCG leaves memory barriers out. The guest would then now and then
      // miss that the device sleeps, and not kick it: the device is another process here.
      ...["-smp", "1,maxcpus=2"],
      // In huge pages, as the outer QEMU mistakes the second half of a used element that crosses a page for one in the
      // physically next page (see the README).
      ...["-object", `memory-backend-memfd,id=ram,size=${size},share=on,hugetlb=on,hugetlbsize=2M`],
      ...["-machine", "memory-backend=ram"],
      ...["-kernel", `${NESTED}/vmlinux`, "-initrd", `${NESTED}/initramfs.cpio`],
      // reboot=t: a triple fault, which needs neither ACPI nor a keyboard controller.
      ...["-append", "console=ttyS0 quiet tsc=reliable no_timer_check panic=-1 reboot=t"],
      ...nicArguments(options),
      ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
      ...["-qmp", `unix:${monitor},server=on,wait=off`],
      ...(options.incoming === undefined ? [] : ["-incoming", options.incoming]),
    ]);
    await until(`${options.name}'s monitor`, () => existsSync(monitor) || !program.alive);
    const guest = new Guest(program, await Qmp.connect(monitor));
    if (options.incoming === undefined) await guest.up();
    return guest;
  }

  /** Plugs a memory module in, which QEMU tells the back-end of at once, whether the guest uses it or not. */
  async plugMemory(id: string, mebibytes: number): Promise<void> {
    freeHugepages(mebibytes / 2);
    const memory = { share: true, hugetlb: true, hugetlbsize: 2 << 20, size: mebibytes << 20 };
    const backend = { "qom-type": "memory-backend-memfd", id: `${id}-memory`, ...memory };
    await this.qmp.execute("object-add", backend);
    await this.qmp.execute("device_add", { driver: "pc-dimm", id, memdev: `${id}-memory` });
  }

  /** Waits for the shell, after power-on and after each reboot. */
  async up(): Promise<void> {
    await this.program.stdout.expect(/guest is up\r?\n/, BOOT_SECONDS);
  }

  /** Runs a shell line in the guest. */
  async attempt(line: string, seconds = GENEROUS_SECONDS): Promise<GuestAnswer> {
    const mark = `[end ${++this.#commands}]`;
    const stream = this.program.stdout;
    stream.skip();
    const from = stream.text.length;
    this.program.send(`{ ${line}; } < /dev/null; echo "${mark} $?"\n`);
    const pattern = new RegExp(`\\[end ${this.#commands}\\] (\\d+)\\r?\\n`);
    const match = await stream.expect(pattern, seconds);
    const output = stream.text.slice(from).split(mark)[0] ?? "";
    return { code: Number(match[1]), output: output.replaceAll("\r", "") };
  }

  /** Runs a shell line that must succeed and returns what it printed. */
  async run(line: string, seconds = GENEROUS_SECONDS): Promise<string> {
    const { code, output } = await this.attempt(line, seconds);
    if (code !== 0) throw new Error(`in the guest, ${line} ended with ${code}: ${output}`);
    return output;
  }

  /** Gives the guest's NIC an address of a /24. */
  async address(address: string): Promise<void> {
    await this.run(`ip address add ${address}/24 dev eth0; ip link set eth0 up`);
  }

  /** Number of answers to `count` pings. */
  async ping(address: string, count: number): Promise<number> {
    const { output } = await this.attempt(`ping -c ${count} -W 20 ${address}`);
    const received = output.match(/(\d+) packets received/)?.[1];
    if (received === undefined) throw new Error(`the guest's ping said no count: ${output}`);
    return Number(received);
  }

  /** Takes the NIC from its driver and gives it back, as unloading and loading the module does. */
  async reloadDriver(): Promise<void> {
    const driver = "/sys/bus/virtio/drivers/virtio_net";
    const name = (await this.run(`ls ${driver} | grep ^virtio`)).trim();
    await this.run(`echo ${name} > ${driver}/unbind`);
    await this.run(`echo ${name} > ${driver}/bind`);
  }

  /** Starts the guest anew within the same QEMU. */
  async reboot(): Promise<void> {
    this.program.stdout.skip();
    this.program.send("reboot -f\n");
    await this.up();
  }

  /** Migrates to a guest that was started with `incoming`; how it ended, as QEMU calls it, and what it took. */
  async migrate(uri: string): Promise<MigrationInfo> {
    await this.qmp.execute("migrate", { uri });
    const began = performance.now();
    let allowed = 0;
    return until("the migration's end", async () => {
      // A slow machine may not send as fast as the guest changes its memory: it may stand still longer then.
      const patience = Math.min(3, Math.floor((performance.now() - began) / SLOW_MIGRATION_MS));
      if (patience > allowed) {
        allowed = patience;
        await this.qmp.execute("migrate-set-parameters", { "downtime-limit": 1000 * 4 ** patience });
      }
      const info = (await this.qmp.execute("query-migrate")) as MigrationInfo;
      return ["completed", "failed", "cancelled"].includes(info.status) && info;
    });
  }

  /** Ends QEMU the orderly way. Returns its exit code. */
  async quit(): Promise<number> {
    await this.qmp.execute("quit").catch(() => undefined);
    await until(`${this.program.name} to end`, () => !this.program.alive);
    return this.program.exited;
  }
}
