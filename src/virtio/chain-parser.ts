// Walks one descriptor chain of a split virtqueue (virtio 1.2, 2.7.5) and writes it as a request and
// its segments. The chain is hostile and may change at any moment: every word of it is read once,
// checked, and only then used, so nothing can pass the checks and be something else afterwards.

import type { RequestTables } from './request-tables.ts';
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './spec.ts';
import {
  MAX_CHAIN,
  VQ_BAD_ADDRESS,
  VQ_BAD_INDEX,
  VQ_BAD_INDIRECT,
  VQ_BAD_ORDER,
  VQ_LOOP,
  VQ_ZERO_LENGTH,
  type VirtqueueConfig,
} from './virtqueue.ts';

const DESC_BYTES = 16;
const MAX_U32 = 0xffffffff;

/** Fills the tables of a `Virtqueue` chain by chain. */
export class ChainParser {
  readonly #tables: RequestTables;
  readonly #data: DataView; // any alignment: indirect tables and headers may lie anywhere
  readonly #ramSize: number;
  readonly #desc: number;
  readonly #size: number;
  readonly #indirect: boolean;

  /** `bytes`: guest RAM from address 0 on; `config` passed `checkConfig`. */
  constructor(bytes: Uint8Array, config: VirtqueueConfig, tables: RequestTables) {
    this.#tables = tables;
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
    const segments = this.#tables.segments;
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
    return this.#tables.finish(head, entry, top, pair, inPair, outBytes, inBytes);
  }
}
