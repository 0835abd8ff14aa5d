// The device's side of a split virtqueue; the twin of src/virtio/split-queue.ts. Works on guest RAM
// in the imported memory, with all its state in a scratch region of ours (`q`) in the same memory.
// The module has no data of its own and allocates nothing: that would overwrite guest memory.

import { load16, store16 } from './atomics';
import { parseChain } from './chain';
import {
  AVAIL,
  COMPLETIONS,
  COMPLETION_BYTES,
  DESC,
  ERROR,
  EVENT_WRITTEN,
  FEATURES,
  FEATURE_EVENT_IDX,
  FILLED,
  IN_FLIGHT,
  LAST_AVAIL,
  MAX_BATCH,
  MAX_CHAIN,
  NEXT_USED,
  NOTHING,
  NOTIFICATION,
  PAIR_BYTES,
  RAM_BASE,
  RAM_SIZE,
  REQUESTS,
  REQUEST_BYTES,
  RING,
  SEGMENTS,
  SEGMENT_PAIRS,
  SHADOW_AVAIL,
  SIGNALLED_VALID,
  SIZE,
  USED,
  USED_IDX,
  VQ_BAD_AVAIL_IDX,
  VQ_TOO_MANY,
} from './layout';

/** Prepares the scratch region `q`, for either kind of ring. Ring addresses are guest-physical and checked; `error` else. */
export function init(
  q: usize,
  ramBase: usize,
  ramSize: u32,
  size: u32,
  desc: u32,
  avail: u32,
  used: u32,
  features: u32,
  error: i32,
): void {
  // prettier-ignore
  memory.fill(q, 0, REQUESTS);
  store<u32>(q, <u32>ramBase, RAM_BASE);
  store<u32>(q, ramSize, RAM_SIZE);
  store<u32>(q, size, SIZE);
  store<u32>(q, desc, DESC);
  store<u32>(q, <u32>ramBase + desc, RING);
  store<u32>(q, <u32>ramBase + avail, AVAIL);
  store<u32>(q, <u32>ramBase + used, USED);
  store<u32>(q, features, FEATURES);
  store<u32>(q, error, ERROR);
  store<u32>(q, 1, NOTIFICATION);
  store<u32>(q, NOTHING, EVENT_WRITTEN);
}

/** Starts from other ring positions, of either kind of ring; nothing is in flight. */
export function restore(q: usize, lastAvail: u32, usedIdx: u32): void {
  store<u32>(q, lastAvail & 0xffff, LAST_AVAIL);
  store<u32>(q, lastAvail & 0xffff, SHADOW_AVAIL);
  store<u32>(q, usedIdx & 0xffff, USED_IDX);
  store<u32>(q, usedIdx & 0xffff, NEXT_USED);
  store<u32>(q, NOTHING, EVENT_WRITTEN);
  store<u32>(q, 0, SIGNALLED_VALID);
}

export function hasAvailable(q: usize): bool {
  if (load<u32>(q, ERROR)) return false;
  return load16(<usize>load<u32>(q, AVAIL) + 2) != load<u32>(q, LAST_AVAIL);
}

/** Fills the tables of requests and segments; answers how many requests. */
export function pop(q: usize, max: u32): u32 {
  if (load<u32>(q, ERROR)) return 0;
  if (max > MAX_BATCH) max = MAX_BATCH;
  const ring = <usize>load<u32>(q, AVAIL) + 4;
  const size = load<u32>(q, SIZE);
  const full = q + SEGMENTS + <usize>(SEGMENT_PAIRS - MAX_CHAIN) * PAIR_BYTES;
  let inFlight = load<u32>(q, IN_FLIGHT);
  let last = load<u32>(q, LAST_AVAIL);
  let shadow = load<u32>(q, SHADOW_AVAIL);
  let request = q + REQUESTS;
  let top = q + SEGMENTS;
  let count: u32 = 0;
  while (count < max) {
    if (shadow == last) {
      shadow = lookAgain(q, last, size);
      if (shadow == last) break;
    }
    if (top > full) break;
    if (inFlight == size) {
      store<u32>(q, VQ_TOO_MANY, ERROR);
      break;
    }
    const head = <u32>load<u16>(ring + ((<usize>(last & (size - 1))) << 1));
    const next = parseChain(q, head, request, top);
    if (next < 0) {
      store<u32>(q, <u32>-next, ERROR);
      break;
    }
    top = <usize>next;
    request += REQUEST_BYTES;
    last = (last + 1) & 0xffff;
    ++inFlight;
    ++count;
  }
  store<u32>(q, inFlight, IN_FLIGHT);
  store<u32>(q, last, LAST_AVAIL);
  store<u32>(q, shadow, SHADOW_AVAIL);
  if (followsEvent(q, last) && !load<u32>(q, ERROR)) writeAvailEvent(q, last);
  return count;
}

/** Reads avail.idx; answers `last` when there is nothing, or the queue broke. */
function lookAgain(q: usize, last: u32, size: u32): u32 {
  const idx = <usize>load<u32>(q, AVAIL) + 2;
  while (true) {
    const shadow = load16(idx);
    const pending = (shadow - last) & 0xffff;
    if (pending > size) {
      store<u32>(q, VQ_BAD_AVAIL_IDX, ERROR);
      return last;
    }
    if (pending || !followsEvent(q, last)) return shadow;
    // The driver may have looked at avail_event before this store, so look once more after it.
    writeAvailEvent(q, last);
  }
}

/** True when avail_event ought to be `last` and is not. */
function followsEvent(q: usize, last: u32): bool {
  return (
    (load<u32>(q, FEATURES) & FEATURE_EVENT_IDX) != 0 &&
    load<u32>(q, NOTIFICATION) != 0 &&
    load<u32>(q, EVENT_WRITTEN) != last
  );
}

function writeAvailEvent(q: usize, event: u32): void {
  store<u32>(q, event, EVENT_WRITTEN);
  store16(<usize>load<u32>(q, USED) + 4 + ((<usize>load<u32>(q, SIZE)) << 3), event);
}

/** Writes the first `count` completions to the used ring, which does not publish them. */
export function fill(q: usize, count: u32): void {
  const ram = <usize>load<u32>(q, RAM_BASE);
  const used = <usize>load<u32>(q, USED) + 4;
  const mask = load<u32>(q, SIZE) - 1;
  const filled = load<u32>(q, FILLED);
  let slot = load<u32>(q, USED_IDX) + filled;
  let at = q + COMPLETIONS;
  const end = at + <usize>count * COMPLETION_BYTES;
  for (; at < end; at += COMPLETION_BYTES, ++slot) {
    const element = used + ((<usize>(slot & mask)) << 3);
    store<u8>(ram + <usize>load<u32>(at, 8), load<u8>(at, 12));
    store<u64>(element, load<u64>(at));
  }
  store<u32>(q, filled + count, FILLED);
}

/** Publishes all completions, `count` of them from the table; true when an interrupt is wanted. */
export function flush(q: usize, count: u32): bool {
  fill(q, count);
  const filled = load<u32>(q, FILLED);
  if (filled == 0) return false;
  const avail = <usize>load<u32>(q, AVAIL);
  const old = load<u32>(q, USED_IDX);
  const next = (old + filled) & 0xffff;
  store16(<usize>load<u32>(q, USED) + 2, next);
  store<u32>(q, next, USED_IDX);
  store<u32>(q, 0, FILLED);
  store<u32>(q, load<u32>(q, IN_FLIGHT) - filled, IN_FLIGHT);
  if (!(load<u32>(q, FEATURES) & FEATURE_EVENT_IDX)) return !(load16(avail) & 1);
  const valid = load<u32>(q, SIGNALLED_VALID) && filled < 0x8000;
  store<u32>(q, 1, SIGNALLED_VALID);
  if (!valid) return true;
  const event = load16(avail + 4 + ((<usize>load<u32>(q, SIZE)) << 1));
  return ((next - event - 1) & 0xffff) < ((next - old) & 0xffff);
}

export function enableNotification(q: usize): bool {
  if (load<u32>(q, ERROR)) return false;
  store<u32>(q, 1, NOTIFICATION);
  if (load<u32>(q, FEATURES) & FEATURE_EVENT_IDX) writeAvailEvent(q, load<u32>(q, LAST_AVAIL));
  else store16(<usize>load<u32>(q, USED), 0);
  return hasAvailable(q);
}

export function disableNotification(q: usize): void {
  if (load<u32>(q, ERROR)) return;
  store<u32>(q, 0, NOTIFICATION);
  const behind = (load<u32>(q, LAST_AVAIL) - 1) & 0xffff;
  if (load<u32>(q, FEATURES) & FEATURE_EVENT_IDX) writeAvailEvent(q, behind);
  else store16(<usize>load<u32>(q, USED), 1);
}
