// A guest's side of a packed ring that writes whatever a test wants, sound or hostile, with no rule of
// its own but the wrap counter; and what its buffers mean, byte by byte: the yardstick for both
// queues. The sound driver is `PackedDriverQueue`.

import {
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from '../virtio/spec.ts';
import * as vq from '../virtio/virtqueue.ts';
import { modelRequest, type ModelRequest } from './chain-model.ts';

export interface PackedDescriptor {
  /** Up to 2^64; the high half goes to the descriptor's high word. */
  readonly address: number;
  readonly length: number;
  readonly id: number;
  /** VIRTQ_DESC_F_*; `offer` adds AVAIL or USED. */
  readonly flags: number;
}

/** A packed queue of `size` entries from `at` on, a multiple of 16, event suppression behind. */
export function packedConfig(
  size: number,
  at: number,
  features: { eventIdx?: boolean; indirect?: boolean } = {},
): vq.VirtqueueConfig {
  const avail = at + 16 * size;
  const { eventIdx = false, indirect = true } = features;
  return { size, desc: at, avail, used: avail + 4, eventIdx, indirect, packed: true };
}

/** `slot` of the lap whose wrap counter is `wrap`, moved on by `by` slots. */
export function moveOn(
  [slot, wrap]: readonly [number, number],
  by: number,
  size: number,
): [number, number] {
  return slot + by < size ? [slot + by, wrap] : [slot + by - size, wrap ^ 1];
}

export class PackedRingBuilder {
  /** Where the next buffer goes: slot and wrap counter. */
  next: [number, number] = [0, 1];
  readonly #data: DataView;
  readonly #config: vq.VirtqueueConfig;

  /** `ram`: guest RAM from address 0 on. */
  constructor(ram: Uint8Array, config: vq.VirtqueueConfig) {
    this.#data = new DataView(ram.buffer, ram.byteOffset, ram.length);
    this.#config = config;
  }

  /** Writes a descriptor at `at`, which is anywhere in RAM. */
  describe(at: number, { address, length, id, flags }: PackedDescriptor): void {
    this.#data.setUint32(at, address % 2 ** 32, true);
    this.#data.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    this.#data.setUint32(at + 8, length, true);
    this.#data.setUint16(at + 12, id, true);
    this.#data.setUint16(at + 14, flags, true);
  }

  /** Writes ring slot `slot` with the flags as they are. */
  descriptor(slot: number, descriptor: PackedDescriptor): void {
    this.describe(this.#config.desc + 16 * slot, descriptor);
  }

  /** Puts a buffer into the next slots and marks them available. */
  offer(...buffer: readonly PackedDescriptor[]): void {
    for (const descriptor of buffer) {
      const [slot, wrap] = this.next;
      const owner = wrap === 1 ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
      this.descriptor(slot, { ...descriptor, flags: descriptor.flags | owner });
      this.next = moveOn(this.next, 1, this.#config.size);
    }
  }

  /** Writes a request header. */
  header(address: number, type: number, sector: number): void {
    this.#data.setUint32(address, type, true);
    this.#data.setUint32(address + 4, 0, true);
    this.#data.setBigUint64(address + 8, BigInt(sector), true);
  }

  /** A ring slot as the device left it: [id, length, flags]. */
  slot(slot: number): readonly [id: number, length: number, flags: number] {
    const at = this.#config.desc + 16 * slot;
    return [
      this.#data.getUint16(at + 12, true),
      this.#data.getUint32(at + 8, true),
      this.#data.getUint16(at + 14, true),
    ];
  }
  /** Writes a used entry, as a device would. */
  complete([slot, wrap]: readonly [number, number], id: number, length: number): void {
    const at = this.#config.desc + 16 * slot;
    this.#data.setUint16(at + 12, id, true);
    this.#data.setUint32(at + 8, length, true);
    const write = length > 0 ? VIRTQ_DESC_F_WRITE : 0;
    const used = wrap === 1 ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0;
    this.#data.setUint16(at + 14, used | write, true);
  }

  /** The driver's event suppression: RING_EVENT_FLAGS_*, and slot and wrap counter for DESC. */
  setDriverEvent(flags: number, [slot, wrap]: readonly [number, number] = [0, 0]): void {
    this.#data.setUint16(this.#config.avail, slot | (wrap << 15), true);
    this.#data.setUint16(this.#config.avail + 2, flags, true);
  }
  /** The device's event suppression: [flags, slot, wrap counter]. */
  get deviceEvent(): readonly [flags: number, slot: number, wrap: number] {
    const word = this.#data.getUint32(this.#config.used, true);
    return [word >>> 16, word & 0x7fff, (word >>> 15) & 1];
  }

  /** The request of the buffer at `slot`, which may take `free` slots, or the `VQ_*` it breaks. */
  model(slot: number, free: number = this.#config.size): ModelRequest | number {
    return modelBuffer(this.#data, this.#config, slot, free);
  }
}

function modelBuffer(
  data: DataView,
  { desc, size, indirect }: vq.VirtqueueConfig,
  first: number,
  free: number,
): ModelRequest | number {
  const ram = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const readable: number[] = [];
  const writable: number[] = [];
  let buffers = 0;
  let total = 0;

  const take = (at: number): number => {
    const address = data.getBigUint64(at, true);
    const length = data.getUint32(at + 8, true);
    if (length === 0) return vq.VQ_ZERO_LENGTH;
    if (address + BigInt(length) > BigInt(ram.length)) return vq.VQ_BAD_ADDRESS;
    if (++buffers > vq.MAX_CHAIN) return vq.VQ_LOOP;
    const toDevice = (data.getUint16(at + 14, true) & VIRTQ_DESC_F_WRITE) === 0;
    if (toDevice && writable.length > 0) return vq.VQ_BAD_ORDER;
    total += length;
    for (let i = 0; i < length; i++) (toDevice ? readable : writable).push(Number(address) + i);
    return vq.VQ_OK;
  };
  const table = (at: number, alone: boolean): number => {
    const start = data.getBigUint64(at, true);
    const length = data.getUint32(at + 8, true);
    if (!alone || !indirect || length === 0 || length % 16 !== 0) return vq.VQ_BAD_INDIRECT;
    if (start + BigInt(length) > BigInt(ram.length)) return vq.VQ_BAD_ADDRESS;
    for (let i = 0; i < length; i += 16) {
      const entry = Number(start) + i;
      const nested = (data.getUint16(entry + 14, true) & VIRTQ_DESC_F_INDIRECT) !== 0;
      const error = nested ? vq.VQ_BAD_INDIRECT : take(entry);
      if (error !== vq.VQ_OK) return error;
    }
    return vq.VQ_OK;
  };

  let at = desc;
  let slots = 0;
  for (let more = true; more; slots++) {
    if (slots === free) return free === size ? vq.VQ_LOOP : vq.VQ_TOO_MANY;
    at = desc + 16 * ((first + slots) % size);
    const flags = data.getUint16(at + 14, true);
    more = (flags & VIRTQ_DESC_F_NEXT) !== 0;
    const isTable = (flags & VIRTQ_DESC_F_INDIRECT) !== 0;
    const error = isTable ? table(at, slots === 0 && !more) : take(at);
    if (error !== vq.VQ_OK) return error;
  }
  const head = data.getUint16(at + 12, true) + 65_536 * slots;
  return modelRequest(ram, head, readable, writable, total);
}
