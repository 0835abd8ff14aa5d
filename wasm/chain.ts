// Walks one descriptor chain of a split ring and writes it as a request and its segments; the twin of
// src/virtio/chain-parser.ts and request-tables.ts, rule by rule. Every word of guest memory is read
// once.

import {
  DESC,
  DESC_BYTES,
  FEATURES,
  FEATURE_INDIRECT,
  F_INDIRECT,
  F_NEXT,
  F_WRITE,
  HEADER_BYTES,
  MAX_CHAIN,
  PAIR_BYTES,
  RAM_BASE,
  RAM_SIZE,
  REQ_HEAD,
  REQ_IN_BYTES,
  REQ_IN_COUNT,
  REQ_IN_FIRST,
  REQ_OUT_BYTES,
  REQ_OUT_COUNT,
  REQ_OUT_FIRST,
  REQ_SECTOR,
  REQ_STATUS_ADDR,
  REQ_TYPE,
  SEGMENTS,
  SIZE,
  VQ_BAD_ADDRESS,
  VQ_BAD_HEADER,
  VQ_BAD_INDEX,
  VQ_BAD_INDIRECT,
  VQ_BAD_ORDER,
  VQ_LOOP,
  VQ_ZERO_LENGTH,
} from './layout';

/**
 * The chain of `head` goes to `request`, its pairs to `top` and on (addresses in our scratch).
 * Answers where the next pair goes, or a negated VQ_*: in 64 bits, for scratch above 2 GiB.
 */
export function parseChain(q: usize, head: u32, request: usize, top: usize): i64 {
  const ram = <usize>load<u32>(q, RAM_BASE);
  const ramSize = <u64>load<u32>(q, RAM_SIZE);
  let table = ram + <usize>load<u32>(q, DESC);
  let entries = load<u32>(q, SIZE);
  let index = head;
  let seen: u32 = 0;
  let buffers: u32 = 0;
  let nested = false;
  let pair = top;
  let end: u64 = u64.MAX_VALUE;
  let inPair: usize = 0;
  let outBytes: u64 = 0;
  let inBytes: u64 = 0;
  while (true) {
    if (index >= entries) return -VQ_BAD_INDEX;
    if (seen == entries) return -VQ_LOOP;
    ++seen;
    const at = table + <usize>(index * DESC_BYTES);
    const address = load<u64>(at);
    const length = load<u32>(at, 8);
    const tail = load<u32>(at, 12);
    const behind = address + <u64>length;
    // Where the sum wraps round, the address alone is outside.
    const outside = address > ramSize || behind > ramSize;
    if (tail & F_INDIRECT) {
      if (nested || tail & F_NEXT || !(load<u32>(q, FEATURES) & FEATURE_INDIRECT)) {
        return -VQ_BAD_INDIRECT;
      }
      if (length == 0 || length % DESC_BYTES != 0) return -VQ_BAD_INDIRECT;
      if (outside) return -VQ_BAD_ADDRESS;
      table = ram + <usize>address;
      entries = length / DESC_BYTES;
      index = 0;
      seen = 0;
      nested = true;
      continue;
    }
    if (length == 0) return -VQ_ZERO_LENGTH;
    if (outside) return -VQ_BAD_ADDRESS;
    if (buffers == MAX_CHAIN) return -VQ_LOOP;
    ++buffers;
    if (tail & F_WRITE) {
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
    if (!(tail & F_NEXT)) break;
    index = tail >>> 16;
  }
  return finish(q, head, request, top, pair, inPair, outBytes, inBytes);
}

/**
 * Makes the chain whose pairs lie from `top` to `pair`, writable from `inPair` on, the request at
 * `request`. Answers as `parseChain`.
 */
export function finish(
  q: usize,
  head: u32,
  request: usize,
  top: usize,
  pair: usize,
  inPair: usize,
  outBytes: u64,
  inBytes: u64,
): i64 {
  if (outBytes + inBytes > <u64>u32.MAX_VALUE) return -VQ_LOOP;
  if (outBytes < HEADER_BYTES || inBytes == 0) return -VQ_BAD_HEADER;

  store<u32>(request, head, REQ_HEAD);
  store<u32>(request, <u32>outBytes - HEADER_BYTES, REQ_OUT_BYTES);
  store<u32>(request, <u32>inBytes - 1, REQ_IN_BYTES);
  const last = load<u32>(pair - PAIR_BYTES);
  store<u32>(request, last + load<u32>(pair - PAIR_BYTES, 4) - 1, REQ_STATUS_ADDR);
  const ram = <usize>load<u32>(q, RAM_BASE);
  const segments = q + SEGMENTS;
  const outPair = takeHeader(ram, request, top);
  store<u32>(request, <u32>((outPair - segments) / PAIR_BYTES), REQ_OUT_FIRST);
  store<u32>(request, <u32>((inPair - outPair) / PAIR_BYTES), REQ_OUT_COUNT);
  const lastLength = load<u32>(pair - PAIR_BYTES, 4) - 1;
  store<u32>(pair - PAIR_BYTES, lastLength, 4);
  if (lastLength == 0) pair -= PAIR_BYTES;
  store<u32>(request, <u32>((inPair - segments) / PAIR_BYTES), REQ_IN_FIRST);
  store<u32>(request, <u32>((pair - inPair) / PAIR_BYTES), REQ_IN_COUNT);
  return <i64>pair;
}

/** Takes the header off the pairs from `pair` on; answers the first pair that is left. */
function takeHeader(ram: usize, request: usize, pair: usize): usize {
  const length = load<u32>(pair, 4);
  if (length < HEADER_BYTES) return gatherHeader(ram, request, pair);
  const at = load<u32>(pair);
  store<u32>(request, load<u32>(ram + <usize>at), REQ_TYPE);
  store<u64>(request, load<u64>(ram + <usize>at, 8), REQ_SECTOR);
  if (length == HEADER_BYTES) return pair + PAIR_BYTES;
  store<u32>(pair, at + HEADER_BYTES);
  store<u32>(pair, length - HEADER_BYTES, 4);
  return pair;
}

/** Likewise where the header is split: byte by byte. */
function gatherHeader(ram: usize, request: usize, pair: usize): usize {
  let first: u64 = 0;
  let sector: u64 = 0;
  for (let i: u32 = 0; i < HEADER_BYTES; ++i) {
    const address = load<u32>(pair);
    const shifted = (<u64>load<u8>(ram + <usize>address)) << (8 * (i & 7));
    if (i < 8) first |= shifted;
    else sector |= shifted;
    store<u32>(pair, address + 1);
    const left = load<u32>(pair, 4) - 1;
    store<u32>(pair, left, 4);
    if (left == 0) pair += PAIR_BYTES;
  }
  store<u32>(request, <u32>first, REQ_TYPE);
  store<u64>(request, sector, REQ_SECTOR);
  return pair;
}
