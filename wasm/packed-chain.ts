// Walks one buffer of a packed ring and writes it as a request and its segments; the twin of
// src/virtio/packed-chain-parser.ts, rule by rule. Every word of guest memory is read once.

import { finish } from './chain';
import {
  CHAIN_SLOTS,
  DESC_BYTES,
  FEATURES,
  FEATURE_INDIRECT,
  F_INDIRECT,
  F_NEXT,
  F_WRITE,
  MAX_CHAIN,
  PAIR_BYTES,
  RAM_BASE,
  RAM_SIZE,
  RING,
  SIZE,
  VQ_BAD_ADDRESS,
  VQ_BAD_INDIRECT,
  VQ_BAD_ORDER,
  VQ_LOOP,
  VQ_TOO_MANY,
  VQ_ZERO_LENGTH,
} from './layout';

/**
 * The buffer that starts at ring slot `slot`, whose flags were read as `flags`, goes to `request`,
 * its pairs to `top` and on (addresses in our scratch); it may take `free` slots. Answers where the
 * next pair goes, or a negated VQ_*; the slots it took are in CHAIN_SLOTS.
 */
export function parseBuffer(
  q: usize,
  slot: u32,
  flags: u32,
  free: u32,
  request: usize,
  top: usize,
): i64 {
  const ram = <usize>load<u32>(q, RAM_BASE);
  const ramSize = <u64>load<u32>(q, RAM_SIZE);
  const ring = <usize>load<u32>(q, RING);
  const size = load<u32>(q, SIZE);
  let at = ring + <usize>(slot * DESC_BYTES);
  let tableEnd: usize = 0;
  let nested = false;
  let slots: u32 = 0;
  let id: u32 = 0;
  let buffers: u32 = 0;
  let pair = top;
  let end: u64 = u64.MAX_VALUE;
  let inPair: usize = 0;
  let outBytes: u64 = 0;
  let inBytes: u64 = 0;
  while (true) {
    if (!nested && slots == free) return free == size ? -VQ_LOOP : -VQ_TOO_MANY;
    const address = load<u64>(at);
    const length = load<u32>(at, 8);
    if (!nested) id = <u32>load<u16>(at, 12);
    if (nested || slots) flags = <u32>load<u16>(at, 14);
    const behind = address + <u64>length;
    // Where the sum wraps round, the address alone is outside.
    const outside = address > ramSize || behind > ramSize;
    if (flags & F_INDIRECT) {
      if (nested || slots || flags & F_NEXT || !(load<u32>(q, FEATURES) & FEATURE_INDIRECT)) {
        return -VQ_BAD_INDIRECT;
      }
      if (length == 0 || length % DESC_BYTES != 0) return -VQ_BAD_INDIRECT;
      if (outside) return -VQ_BAD_ADDRESS;
      at = ram + <usize>address;
      tableEnd = at + length;
      slots = 1;
      nested = true;
      continue;
    }
    if (length == 0) return -VQ_ZERO_LENGTH;
    if (outside) return -VQ_BAD_ADDRESS;
    if (buffers == MAX_CHAIN) return -VQ_LOOP;
    ++buffers;
    if (flags & F_WRITE) {
      if (!inPair) {
        inPair = pair;
        end = u64.MAX_VALUE;
      }
      inBytes += length;
    } else {
      if (inPair) return -VQ_BAD_ORDER;
      outBytes += length;
    }
    if (address == end) {
      store<u32>(pair - PAIR_BYTES, load<u32>(pair - PAIR_BYTES, 4) + length, 4);
    } else {
      store<u32>(pair, <u32>address);
      store<u32>(pair, length, 4);
      pair += PAIR_BYTES;
    }
    end = behind;
    at += DESC_BYTES;
    if (nested) {
      if (at == tableEnd) break;
    } else {
      ++slots;
      if (!(flags & F_NEXT)) break;
      if (++slot == size) {
        slot = 0;
        at = ring;
      }
    }
  }
  store<u32>(q, slots, CHAIN_SLOTS);
  return finish(q, id | (slots << 16), request, top, pair, inPair, outBytes, inBytes);
}
