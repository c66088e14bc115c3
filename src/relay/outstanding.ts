/** In a table of when each chain was forwarded: the device does not hold it. */
export const FREE = -1;

/** The chains that the device holds, in the order in which they were forwarded. */
export function outstandingInOrder(since: Float64Array): number[] {
  const held: number[] = [];
  for (let id = 0; id < since.length; id++) if (since[id] !== FREE) held.push(id);
  return held.sort((a, b) => since[a]! - since[b]!);
}
