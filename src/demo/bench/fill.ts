// What the disks of the benchmark hold. The host's page cache keeps together what was written in one go,
// and finds it the quicker the larger that was: so every file is written in pieces of one size.

/** Bytes of one write: a cluster. */
const FILL_BYTES = 64 * 1024;

/** Writes `bytes` bytes, whole clusters, from offset 0 on, none of them zero. */
export async function fill(
  bytes: number,
  write: (at: number, chunk: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const chunk = new Uint8Array(FILL_BYTES);
  for (let at = 0; at < bytes; at += FILL_BYTES) {
    chunk.fill(1 + ((at / FILL_BYTES) % 255));
    await write(at, chunk);
  }
}
