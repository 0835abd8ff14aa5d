/** Stops the thread on a bug of ours. Never for guest, image or network data. */
export function assert(condition: boolean, message = 'assertion failed'): asserts condition {
  if (!condition) throw new Error(message);
}
