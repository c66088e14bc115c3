/** The Debian release inside the VM, whatever the machine's: it has DPDK 24.11, QEMU 10 and Linux 6.12. */
export const VM_RELEASE = "trixie";
