// Walks one buffer of a packed virtqueue (virtio 1.2, 2.8.6 and 2.8.7) and writes it as a request and
// its segments. A list goes on in the ring's next slot while NEXT is set; an indirect table is one
// slot, and its whole length counts. Hostile as ever: each word is read once, then checked, then used.

import type { RequestTables } from './request-tables.ts';
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './spec.ts';
import {
  MAX_CHAIN,
  VQ_BAD_ADDRESS,
  VQ_BAD_INDIRECT,
  VQ_BAD_ORDER,
  VQ_LOOP,
  VQ_TOO_MANY,
  VQ_ZERO_LENGTH,
  type VirtqueueConfig,
} from './virtqueue.ts';

const DESC_BYTES = 16;
const MAX_U32 = 0xffffffff;

/** Fills the tables of a `Virtqueue` buffer by buffer. */
export class PackedChainParser {
  /** Ring slots of the buffer that `parse` took last. */
  slots = 0;

  readonly #tables: RequestTables;
  readonly #data: DataView; // any alignment: indirect tables may lie anywhere
  readonly #ramSize: number;
  readonly #desc: number;
  readonly #size: number;
  readonly #indirect: boolean;
  // The buffer being walked.
  #pair = 0; // where the next pair goes
  #end = 0; // address behind the pair before it, if that has the same direction; else -1
  #inPair = 0; // the first device-writable pair, or -1
  #outBytes = 0;
  #inBytes = 0;
  #buffers = 0;

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
   * Walks the buffer that starts at ring slot `first`, whose flags were read as `flags`, into
   * `requests` from word `entry` on and `segments` from pair `top` on, where MAX_CHAIN pairs are
   * free. `free`: ring slots that it may take, at least 1. Answers the next free pair, or a negated
   * `VQ_*`.
   */
  parse(first: number, flags: number, free: number, entry: number, top: number): number {
    const data = this.#data;
    this.#pair = 2 * top;
    this.#end = -1;
    this.#inPair = -1;
    this.#outBytes = 0;
    this.#inBytes = 0;
    this.#buffers = 0;
    let slot = first;
    let slots = 0;
    let id = 0;
    let more = true;
    while (more) {
      if (slots === free) return free === this.#size ? -VQ_LOOP : -VQ_TOO_MANY;
      const at = this.#desc + slot * DESC_BYTES;
      const address = data.getUint32(at, true);
      const high = data.getUint32(at + 4, true);
      const length = data.getUint32(at + 8, true);
      id = data.getUint16(at + 12, true);
      if (slots > 0) flags = data.getUint16(at + 14, true);
      more = (flags & VIRTQ_DESC_F_NEXT) !== 0;
      const error =
        (flags & VIRTQ_DESC_F_INDIRECT) === 0
          ? this.#buffer(address, high, length, flags)
          : slots > 0 || more
            ? VQ_BAD_INDIRECT
            : this.#table(address, high, length);
      if (error !== 0) return -error;
      slots += 1;
      slot = slot + 1 === this.#size ? 0 : slot + 1;
    }
    this.slots = slots;
    // The id is in the last descriptor (2.8.6); Linux writes it into all, some drivers do not.
    const name = id + slots * 0x10000;
    const end = this.#pair;
    const tables = this.#tables;
    return tables.finish(name, entry, top, end, this.#inPair, this.#outBytes, this.#inBytes);
  }

  /** Takes the buffers of an indirect table, all of them: NEXT means nothing in there (2.8.7). */
  #table(table: number, high: number, length: number): number {
    if (!this.#indirect || length === 0 || length % DESC_BYTES !== 0) return VQ_BAD_INDIRECT;
    if (high !== 0 || table + length > this.#ramSize) return VQ_BAD_ADDRESS;
    const data = this.#data;
    for (let at = table; at < table + length; at += DESC_BYTES) {
      const address = data.getUint32(at, true);
      const addressHigh = data.getUint32(at + 4, true);
      const bytes = data.getUint32(at + 8, true);
      const flags = data.getUint16(at + 14, true);
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) return VQ_BAD_INDIRECT;
      const error = this.#buffer(address, addressHigh, bytes, flags);
      if (error !== 0) return error;
    }
    return 0;
  }

  /** Adds one descriptor's bytes; answers VQ_OK, or what is wrong with it. */
  #buffer(address: number, high: number, length: number, flags: number): number {
    if (length === 0) return VQ_ZERO_LENGTH;
    if (high !== 0 || address + length > this.#ramSize) return VQ_BAD_ADDRESS;
    if (this.#buffers === MAX_CHAIN) return VQ_LOOP;
    this.#buffers += 1;
    if ((flags & VIRTQ_DESC_F_WRITE) !== 0) {
      if (this.#inPair < 0) {
        this.#inPair = this.#pair;
        this.#end = -1;
      }
      this.#inBytes += length;
    } else {
      if (this.#inPair >= 0) return VQ_BAD_ORDER;
      this.#outBytes += length;
    }
    const { segments } = this.#tables;
    if (address === this.#end) {
      segments[this.#pair - 1]! += length;
    } else {
      segments[this.#pair] = address;
      segments[this.#pair + 1] = length;
      this.#pair += 2;
    }
    this.#end = address + length;
    return 0;
  }
}
