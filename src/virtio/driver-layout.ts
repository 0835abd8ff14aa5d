// How the guest's side lays its queue out: descriptors and avail ring, which the driver writes; the
// used ring, which the device writes; then a slot per entry. The parts begin in cache lines of their
// own, so that the two threads do not write to one line.

const CACHE_LINE = 64;
const PAGE = 4096;

/** A slot's first bytes: the header, and the status byte behind it. Its indirect table follows. */
export const SLOT_BYTES = 32;
export const SLOT_STATUS = 16;

/** Bytes, from the queue's start. */
export interface DriverQueueLayout {
  readonly avail: number;
  readonly used: number;
  readonly slots: number;
  /** From one slot to the next. */
  readonly slotBytes: number;
  /** All of it, whole pages. */
  readonly bytes: number;
}

/** `size` entries of at most `maxSegments` data segments each. */
export function layoutDriverQueue(size: number, maxSegments: number): DriverQueueLayout {
  const avail = 16 * size;
  const used = roundUp(avail + 6 + 2 * size, CACHE_LINE);
  const slots = roundUp(used + 6 + 8 * size, CACHE_LINE);
  const slotBytes = roundUp(SLOT_BYTES + 16 * (maxSegments + 2), CACHE_LINE);
  return { avail, used, slots, slotBytes, bytes: roundUp(slots + size * slotBytes, PAGE) };
}

function roundUp(bytes: number, to: number): number {
  return Math.ceil(bytes / to) * to;
}
