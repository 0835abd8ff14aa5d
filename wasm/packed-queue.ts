// The device's side of a packed virtqueue; the twin of src/virtio/packed-queue.ts. The split
// queue's `init` and `restore` serve it too: AVAIL and USED are then the event suppression of driver
// and device, and ring positions are slots with the wrap counter in bit 15.

import { load16, load32, store16, store32 } from './atomics';
import {
  AVAIL,
  CHAIN_SLOTS,
  COMPLETIONS,
  COMPLETION_BYTES,
  DESC_BYTES,
  ERROR,
  EVENT_DESC,
  EVENT_DISABLE,
  EVENT_WRITTEN,
  FEATURES,
  FEATURE_EVENT_IDX,
  FILLED,
  FILLED_SLOTS,
  FIRST_FLAGS,
  F_AVAIL,
  F_USED,
  F_WRITE,
  IN_FLIGHT,
  LAST_AVAIL,
  MAX_BATCH,
  MAX_CHAIN,
  NEXT_USED,
  NOTIFICATION,
  PAIR_BYTES,
  RAM_BASE,
  REQUESTS,
  REQUEST_BYTES,
  RING,
  SEGMENTS,
  SEGMENT_PAIRS,
  SIGNALLED_VALID,
  SIZE,
  SLOTS_IN_USE,
  USED,
  USED_IDX,
  VQ_TOO_MANY,
  WRAP,
} from './layout';
import { parseBuffer } from './packed-chain';

/** Where ring slot `position`, which may carry a wrap counter, is in this memory. */
function slotAt(q: usize, position: u32): usize {
  return <usize>load<u32>(q, RING) + <usize>((position & ~WRAP) * DESC_BYTES);
}

/** `position` moved on by `slots`, at most a lap. */
function advance(position: u32, slots: u32, size: u32): u32 {
  const next = (position & ~WRAP) + slots;
  return next >= size ? (next - size) | (~position & WRAP) : next | (position & WRAP);
}

/** The AVAIL bit is the lap's wrap counter, and the USED bit is not (2.8.1). */
function isAvailable(flags: u32, position: u32): bool {
  return (flags & (F_AVAIL | F_USED)) == (position & WRAP ? F_AVAIL : F_USED);
}

export function hasAvailable(q: usize): bool {
  if (load<u32>(q, ERROR)) return false;
  const last = load<u32>(q, LAST_AVAIL);
  return isAvailable(load16(slotAt(q, last) + 14), last);
}

/** Fills the tables of requests and segments; answers how many requests. */
export function pop(q: usize, max: u32): u32 {
  if (load<u32>(q, ERROR)) return 0;
  if (max > MAX_BATCH) max = MAX_BATCH;
  const size = load<u32>(q, SIZE);
  const full = q + SEGMENTS + <usize>(SEGMENT_PAIRS - MAX_CHAIN) * PAIR_BYTES;
  let free = size - load<u32>(q, SLOTS_IN_USE);
  let last = load<u32>(q, LAST_AVAIL);
  let request = q + REQUESTS;
  let top = q + SEGMENTS;
  let count: u32 = 0;
  while (count < max) {
    const flags = load16(slotAt(q, last) + 14);
    if (!isAvailable(flags, last)) {
      if (!followsEvent(q, last)) break;
      // The driver may have looked at our event before this store, so look once more after it.
      writeEvent(q, last | (EVENT_DESC << 16));
      continue;
    }
    if (top > full) break;
    if (!free) {
      store<u32>(q, VQ_TOO_MANY, ERROR);
      break;
    }
    const next = parseBuffer(q, last & ~WRAP, flags, free, request, top);
    if (next < 0) {
      store<u32>(q, <u32>-next, ERROR);
      break;
    }
    const slots = load<u32>(q, CHAIN_SLOTS);
    top = <usize>next;
    request += REQUEST_BYTES;
    last = advance(last, slots, size);
    free -= slots;
    ++count;
  }
  store<u32>(q, load<u32>(q, IN_FLIGHT) + count, IN_FLIGHT);
  store<u32>(q, size - free, SLOTS_IN_USE);
  store<u32>(q, last, LAST_AVAIL);
  if (followsEvent(q, last) && !load<u32>(q, ERROR)) writeEvent(q, last | (EVENT_DESC << 16));
  return count;
}

/** True when our event suppression ought to name `last` and does not. */
function followsEvent(q: usize, last: u32): bool {
  return (
    (load<u32>(q, FEATURES) & FEATURE_EVENT_IDX) != 0 &&
    load<u32>(q, NOTIFICATION) != 0 &&
    load<u32>(q, EVENT_WRITTEN) != (last | (EVENT_DESC << 16))
  );
}

function writeEvent(q: usize, event: u32): void {
  store<u32>(q, event, EVENT_WRITTEN);
  store32(<usize>load<u32>(q, USED), event);
}

/** Writes the first `count` completions to the ring; the flags of the first of all wait. */
export function fill(q: usize, count: u32): void {
  const ram = <usize>load<u32>(q, RAM_BASE);
  const size = load<u32>(q, SIZE);
  let filled = load<u32>(q, FILLED);
  let filledSlots = load<u32>(q, FILLED_SLOTS);
  let next = load<u32>(q, NEXT_USED);
  let at = q + COMPLETIONS;
  const end = at + <usize>count * COMPLETION_BYTES;
  for (; at < end; at += COMPLETION_BYTES) {
    const head = load<u32>(at);
    const written = load<u32>(at, 4);
    const slot = slotAt(q, next);
    store<u8>(ram + <usize>load<u32>(at, 8), load<u8>(at, 12));
    store<u32>(slot, written, 8);
    store<u16>(slot, <u16>head, 12);
    // WRITE: the length counts (2.8.8).
    const flags = (next & WRAP ? F_AVAIL | F_USED : 0) | (written ? F_WRITE : 0);
    if (filled) store<u16>(slot, <u16>flags, 14);
    else store<u32>(q, flags, FIRST_FLAGS);
    ++filled;
    filledSlots += head >>> 16;
    next = advance(next, head >>> 16, size);
  }
  store<u32>(q, filled, FILLED);
  store<u32>(q, filledSlots, FILLED_SLOTS);
  store<u32>(q, next, NEXT_USED);
}

/** Publishes all completions, `count` of them from the table; true when an interrupt is wanted. */
export function flush(q: usize, count: u32): bool {
  fill(q, count);
  const filled = load<u32>(q, FILLED);
  if (filled == 0) return false;
  const slots = load<u32>(q, FILLED_SLOTS);
  const next = load<u32>(q, NEXT_USED);
  store16(slotAt(q, load<u32>(q, USED_IDX)) + 14, load<u32>(q, FIRST_FLAGS));
  store<u32>(q, next, USED_IDX);
  store<u32>(q, 0, FILLED);
  store<u32>(q, 0, FILLED_SLOTS);
  store<u32>(q, load<u32>(q, IN_FLIGHT) - filled, IN_FLIGHT);
  store<u32>(q, load<u32>(q, SLOTS_IN_USE) - slots, SLOTS_IN_USE);
  const valid = load<u32>(q, SIGNALLED_VALID) && load<u32>(q, FEATURES) & FEATURE_EVENT_IDX;
  store<u32>(q, 1, SIGNALLED_VALID);
  const event = load32(<usize>load<u32>(q, AVAIL));
  const flags = (event >>> 16) & 3;
  if (flags == EVENT_DISABLE) return false;
  if (flags != EVENT_DESC || !valid) return true;
  // A slot of the other lap is one of the lap before.
  const lapsBehind = (event ^ next) & WRAP ? load<u32>(q, SIZE) : 0;
  return (((next & ~WRAP) - (event & 0x7fff) + lapsBehind - 1) & 0xffff) < slots;
}

export function enableNotification(q: usize): bool {
  if (load<u32>(q, ERROR)) return false;
  store<u32>(q, 1, NOTIFICATION);
  const asks = load<u32>(q, LAST_AVAIL) | (EVENT_DESC << 16);
  writeEvent(q, load<u32>(q, FEATURES) & FEATURE_EVENT_IDX ? asks : 0);
  return hasAvailable(q);
}

export function disableNotification(q: usize): void {
  if (load<u32>(q, ERROR)) return;
  store<u32>(q, 0, NOTIFICATION);
  writeEvent(q, EVENT_DISABLE << 16);
}
