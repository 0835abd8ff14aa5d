// What a descriptor chain means, byte by byte and as plainly as can be: the yardstick for both
// virtqueues. It lists every byte's address, so it is slow and keeps to chains of few bytes.

import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from '../virtio/spec.ts';
import * as vq from '../virtio/virtqueue.ts';

export interface ModelRequest {
  readonly head: number;
  readonly type: number;
  readonly sector: bigint;
  /** Addresses of the data bytes, in order. */
  readonly out: readonly number[];
  readonly in: readonly number[];
  readonly statusAddr: number;
}

/** The request of the chain at `head`, or the `VQ_*` that it breaks. */
export function modelChain(
  ram: Uint8Array,
  config: vq.VirtqueueConfig,
  head: number,
): ModelRequest | number {
  const data = new DataView(ram.buffer, ram.byteOffset, ram.length);
  const readable: number[] = [];
  const writable: number[] = [];
  let buffers = 0;
  let total = 0;

  /** Follows one table; answers VQ_OK at the chain's end. */
  const follow = (table: number, entries: number, first: number, nested: boolean): number => {
    let index = first;
    for (let visited = 0; ; visited++) {
      if (index >= entries) return vq.VQ_BAD_INDEX;
      if (visited === entries) return vq.VQ_LOOP;
      const at = table + 16 * index;
      const address = data.getBigUint64(at, true);
      const length = data.getUint32(at + 8, true);
      const flags = data.getUint16(at + 12, true);
      const inside = address + BigInt(length) <= BigInt(ram.length);
      if (flags & VIRTQ_DESC_F_INDIRECT) {
        const whole = length > 0 && length % 16 === 0;
        if (nested || !config.indirect || flags & VIRTQ_DESC_F_NEXT || !whole) {
          return vq.VQ_BAD_INDIRECT;
        }
        return inside ? follow(Number(address), length / 16, 0, true) : vq.VQ_BAD_ADDRESS;
      }
      if (length === 0) return vq.VQ_ZERO_LENGTH;
      if (!inside) return vq.VQ_BAD_ADDRESS;
      if (++buffers > vq.MAX_CHAIN) return vq.VQ_LOOP;
      const toDevice = (flags & VIRTQ_DESC_F_WRITE) === 0;
      if (toDevice && writable.length > 0) return vq.VQ_BAD_ORDER;
      total += length;
      const bytes = toDevice ? readable : writable;
      for (let i = 0; i < length; i++) bytes.push(Number(address) + i);
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) return vq.VQ_OK;
      index = data.getUint16(at + 14, true);
    }
  };

  const error = follow(config.desc, config.size, head, false);
  if (error !== vq.VQ_OK) return error;
  return modelRequest(ram, head, readable, writable, total);
}

/** The request whose `total` bytes have these addresses, whichever ring they came from. */
export function modelRequest(
  ram: Uint8Array,
  head: number,
  readable: readonly number[],
  writable: readonly number[],
  total: number,
): ModelRequest | number {
  if (total >= 2 ** 32) return vq.VQ_LOOP;
  if (readable.length < 16 || writable.length === 0) return vq.VQ_BAD_HEADER;
  const header = new DataView(Uint8Array.from(readable.slice(0, 16), (at) => ram[at]!).buffer);
  return {
    head,
    type: header.getUint32(0, true),
    sector: header.getBigUint64(8, true),
    out: readable.slice(16),
    in: writable.slice(0, -1),
    statusAddr: writable.at(-1)!,
  };
}

/** Says how entry `index` of a queue's tables differs from `model`; '' when it does not. */
export function compareRequest(
  queue: Pick<vq.Virtqueue, 'requests' | 'segments'>,
  index: number,
  model: ModelRequest,
): string {
  const word = (w: number): number => queue.requests[index * vq.REQUEST_WORDS + w]!;
  const sector = (BigInt(word(vq.REQ_SECTOR_HI)) << 32n) | BigInt(word(vq.REQ_SECTOR_LO));
  if (word(vq.REQ_HEAD) !== model.head) return `head ${word(vq.REQ_HEAD)}, not ${model.head}`;
  if (word(vq.REQ_TYPE) !== model.type) return `type ${word(vq.REQ_TYPE)}, not ${model.type}`;
  if (sector !== model.sector) return `sector ${sector}, not ${model.sector}`;
  if (word(vq.REQ_STATUS_ADDR) !== model.statusAddr) {
    return `status at ${word(vq.REQ_STATUS_ADDR)}, not ${model.statusAddr}`;
  }
  const out = comparePairs(
    queue.segments,
    word(vq.REQ_OUT_FIRST),
    word(vq.REQ_OUT_COUNT),
    model.out,
  );
  if (out !== '') return `out: ${out}`;
  if (word(vq.REQ_OUT_BYTES) !== model.out.length) return `out bytes ${word(vq.REQ_OUT_BYTES)}`;
  const inn = comparePairs(queue.segments, word(vq.REQ_IN_FIRST), word(vq.REQ_IN_COUNT), model.in);
  if (inn !== '') return `in: ${inn}`;
  return word(vq.REQ_IN_BYTES) === model.in.length ? '' : `in bytes ${word(vq.REQ_IN_BYTES)}`;
}

function comparePairs(
  segments: Uint32Array,
  first: number,
  count: number,
  bytes: readonly number[],
): string {
  let at = 0;
  for (let i = first; i < first + count; i++) {
    const address = segments[2 * i]!;
    const length = segments[2 * i + 1]!;
    if (length === 0) return `pair ${i - first} is empty`;
    if (at > 0 && bytes[at - 1] === address - 1) return `pair ${i - first} is not merged`;
    for (let k = 0; k < length; k++, at++) {
      if (bytes[at] !== address + k) return `byte ${at} is ${address + k}, not ${bytes[at]}`;
    }
  }
  return at === bytes.length ? '' : `${at} bytes, not ${bytes.length}`;
}
