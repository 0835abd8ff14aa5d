// Walks one descriptor chain of a split virtqueue (virtio 1.2, 2.7.5) and writes it as a request and
// its segments. The chain is hostile and may change at any moment: every word of it is read once,
// checked, and only then used, so nothing can pass the checks and be something else afterwards.

import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './spec.ts';
import {
  MAX_BATCH,
  MAX_CHAIN,
  REQ_HEAD,
  REQ_IN_BYTES,
  REQ_IN_COUNT,
  REQ_IN_FIRST,
  REQ_OUT_BYTES,
  REQ_OUT_COUNT,
  REQ_OUT_FIRST,
  REQ_SECTOR_HI,
  REQ_SECTOR_LO,
  REQ_STATUS_ADDR,
  REQ_TYPE,
  REQUEST_WORDS,
  SEGMENT_PAIRS,
  VQ_BAD_ADDRESS,
  VQ_BAD_HEADER,
  VQ_BAD_INDEX,
  VQ_BAD_INDIRECT,
  VQ_BAD_ORDER,
  VQ_LOOP,
  VQ_ZERO_LENGTH,
  type VirtqueueConfig,
} from './virtqueue.ts';

const HEADER_BYTES = 16;
const DESC_BYTES = 16;
const MAX_U32 = 0xffffffff;

/** Owns the tables of a `Virtqueue`, which it fills chain by chain. */
export class ChainParser {
  /** As `Virtqueue.requests` and `Virtqueue.segments`. */
  readonly requests: Uint32Array = new Uint32Array(MAX_BATCH * REQUEST_WORDS);
  readonly segments: Uint32Array = new Uint32Array(2 * SEGMENT_PAIRS);

  readonly #bytes: Uint8Array;
  readonly #data: DataView; // any alignment: indirect tables and headers may lie anywhere
  readonly #ramSize: number;
  readonly #desc: number;
  readonly #size: number;
  readonly #indirect: boolean;

  /** `bytes`: guest RAM from address 0 on; `config` passed `checkConfig`. */
  constructor(bytes: Uint8Array, config: VirtqueueConfig) {
    this.#bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    // Lengths and addresses of the tables are u32.
    this.#ramSize = Math.min(bytes.length, MAX_U32);
    this.#desc = config.desc;
    this.#size = config.size;
    this.#indirect = config.indirect;
  }

  /**
   * Walks the chain of `head` into `requests` from word `entry` on and `segments` from pair `top`
   * on, where MAX_CHAIN pairs are free. Answers the next free pair, or a negated `VQ_*`.
   */
  parse(head: number, entry: number, top: number): number {
    const data = this.#data;
    const segments = this.segments;
    const ramSize = this.#ramSize;
    let table = this.#desc;
    let entries = this.#size;
    let index = head;
    let seen = 0;
    let buffers = 0;
    let nested = false;
    let pair = 2 * top; // where the next pair goes
    let end = -1; // address behind the pair before it, if that has the same direction
    let inPair = -1; // the first device-writable pair
    let outBytes = 0;
    let inBytes = 0;
    for (;;) {
      if (index >= entries) return -VQ_BAD_INDEX;
      if (seen === entries) return -VQ_LOOP;
      seen += 1;
      const at = table + index * DESC_BYTES;
      const address = data.getUint32(at, true);
      const high = data.getUint32(at + 4, true);
      const length = data.getUint32(at + 8, true);
      const tail = data.getUint32(at + 12, true); // flags, next
      const outside = high !== 0 || address + length > ramSize;
      if ((tail & VIRTQ_DESC_F_INDIRECT) !== 0) {
        if (nested || !this.#indirect || (tail & VIRTQ_DESC_F_NEXT) !== 0) return -VQ_BAD_INDIRECT;
        if (length === 0 || length % DESC_BYTES !== 0) return -VQ_BAD_INDIRECT;
        if (outside) return -VQ_BAD_ADDRESS;
        table = address;
        entries = length / DESC_BYTES;
        index = 0;
        seen = 0;
        nested = true;
        continue;
      }
      if (length === 0) return -VQ_ZERO_LENGTH;
      if (outside) return -VQ_BAD_ADDRESS;
      if (buffers === MAX_CHAIN) return -VQ_LOOP;
      buffers += 1;
      if ((tail & VIRTQ_DESC_F_WRITE) !== 0) {
        if (inPair < 0) {
          inPair = pair;
          end = -1;
        }
        inBytes += length;
      } else {
        if (inPair >= 0) return -VQ_BAD_ORDER;
        outBytes += length;
      }
      if (address === end) {
        segments[pair - 1]! += length;
      } else {
        segments[pair] = address;
        segments[pair + 1] = length;
        pair += 2;
      }
      end = address + length;
      if ((tail & VIRTQ_DESC_F_NEXT) === 0) break;
      index = tail >>> 16;
    }
    if (outBytes + inBytes > MAX_U32) return -VQ_LOOP;
    if (outBytes < HEADER_BYTES || inBytes === 0) return -VQ_BAD_HEADER;
    this.requests[entry + REQ_HEAD] = head;
    this.requests[entry + REQ_OUT_BYTES] = outBytes - HEADER_BYTES;
    this.requests[entry + REQ_IN_BYTES] = inBytes - 1;
    // The status is the last byte of the last writable descriptor (virtio 1.2, 5.2.6).
    this.requests[entry + REQ_STATUS_ADDR] = end - 1;
    return this.#cut(entry, 2 * top, inPair, pair) >>> 1;
  }

  /**
   * Cuts header and status off the pairs `[first, end)`, writable from `inPair` on, and notes what
   * is left. Answers the new end.
   */
  #cut(entry: number, first: number, inPair: number, end: number): number {
    const requests = this.requests;
    const outPair = this.#takeHeader(entry, first);
    requests[entry + REQ_OUT_FIRST] = outPair >>> 1;
    requests[entry + REQ_OUT_COUNT] = (inPair - outPair) >>> 1;
    const lastLength = this.segments[end - 1]! - 1;
    this.segments[end - 1] = lastLength;
    const inEnd = lastLength === 0 ? end - 2 : end;
    requests[entry + REQ_IN_FIRST] = inPair >>> 1;
    requests[entry + REQ_IN_COUNT] = (inEnd - inPair) >>> 1;
    return inEnd;
  }

  /**
   * Reads the 16 header bytes, however they are split (virtio 1.2, 2.7.4.1), and takes them off
   * the front of the pairs from `pair` on. Answers the first pair that is left.
   */
  #takeHeader(entry: number, pair: number): number {
    const requests = this.requests;
    const segments = this.segments;
    const length = segments[pair + 1]!;
    if (length >= HEADER_BYTES) {
      const at = segments[pair]!;
      requests[entry + REQ_TYPE] = this.#data.getUint32(at, true);
      requests[entry + REQ_SECTOR_LO] = this.#data.getUint32(at + 8, true);
      requests[entry + REQ_SECTOR_HI] = this.#data.getUint32(at + 12, true);
      if (length === HEADER_BYTES) return pair + 2;
      segments[pair] = at + HEADER_BYTES;
      segments[pair + 1] = length - HEADER_BYTES;
      return pair;
    }
    requests[entry + REQ_TYPE] = 0;
    requests[entry + REQ_SECTOR_LO] = 0;
    requests[entry + REQ_SECTOR_HI] = 0;
    let at = pair;
    for (let i = 0; i < HEADER_BYTES; i++) {
      const address = segments[at]!;
      const shifted = this.#bytes[address]! << (8 * (i & 3));
      if (i < 4) requests[entry + REQ_TYPE]! |= shifted;
      else if (i >= 12) requests[entry + REQ_SECTOR_HI]! |= shifted;
      else if (i >= 8) requests[entry + REQ_SECTOR_LO]! |= shifted;
      segments[at] = address + 1;
      const left = segments[at + 1]! - 1;
      segments[at + 1] = left;
      if (left === 0) at += 2;
    }
    return at;
  }
}
