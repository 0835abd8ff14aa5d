// The tables that a virtqueue's `pop` fills, and the last step of parsing: a chain that was walked
// buffer by buffer, by either ring's rules, becomes a request. Header and status byte are cut off
// its segments here.

import {
  MAX_BATCH,
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
  VQ_BAD_HEADER,
  VQ_LOOP,
} from './virtqueue.ts';

const HEADER_BYTES = 16;
const MAX_U32 = 0xffffffff;

export class RequestTables {
  /** As `Virtqueue.requests` and `Virtqueue.segments`. */
  readonly requests: Uint32Array = new Uint32Array(MAX_BATCH * REQUEST_WORDS);
  readonly segments: Uint32Array = new Uint32Array(2 * SEGMENT_PAIRS);

  readonly #bytes: Uint8Array;
  readonly #data: DataView; // any alignment: headers may lie anywhere

  /** `bytes`: guest RAM from address 0 on. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /**
   * Makes the chain whose pairs lie in `segments`, from pair `top` to word `end`, the request at
   * word `entry`. Its device-writable pairs start at word `inPair`, negative where there are none.
   * Answers the next free pair, or a negated `VQ_*`.
   */
  finish(
    head: number,
    entry: number,
    top: number,
    end: number,
    inPair: number,
    outBytes: number,
    inBytes: number,
  ): number {
    if (outBytes + inBytes > MAX_U32) return -VQ_LOOP;
    if (outBytes < HEADER_BYTES || inBytes === 0) return -VQ_BAD_HEADER;
    this.requests[entry + REQ_HEAD] = head;
    this.requests[entry + REQ_OUT_BYTES] = outBytes - HEADER_BYTES;
    this.requests[entry + REQ_IN_BYTES] = inBytes - 1;
    // The status is the last byte of the last writable descriptor (virtio 1.2, 5.2.6).
    this.requests[entry + REQ_STATUS_ADDR] = this.segments[end - 2]! + this.segments[end - 1]! - 1;
    return this.#cut(entry, 2 * top, inPair, end) >>> 1;
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
