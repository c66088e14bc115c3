/** `850`, `12.3 k`, `4.1 M`. */
export function short(n: number): string {
  if (n < 10_000) return String(n);
  if (n < 1_000_000) return `${(n / 1000).toFixed(1)} k`;
  return `${(n / 1_000_000).toFixed(1)} M`;
}

/** `96.0 MiB`, `4.0 GiB`. */
export function bytes(n: number): string {
  return n < 2 ** 30 ? `${(n / 2 ** 20).toFixed(1)} MiB` : `${(n / 2 ** 30).toFixed(1)} GiB`;
}

/** `42 s`, `3 min`, `5.2 h`, `12 days`. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

const BARS = "▁▂▃▄▅▆▇█";

/** Values as a row of bars, the highest one full; zeros are blank. */
export function sparkline(values: readonly number[]): string {
  const most = Math.max(...values, 1);
  return values
    .map((value) => (value <= 0 ? " " : BARS[Math.min(7, Math.floor((8 * value) / most))]!))
    .join("");
}
