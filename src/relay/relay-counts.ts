/** What a relay has done since it was made. */
export class RelayCounts {
  /** Chains given to the device, and given back to the guest. */
  forwarded = 0;
  completed = 0;
  /** Completions whose length was beyond the chain's writable part; it was cut to that. */
  overlongUsed = 0;
  /** Faults of either side. */
  guestFaults = 0;
  deviceFaults = 0;
}
