// A guest's side of a split ring that writes whatever a test wants, sound or hostile: descriptors,
// tables and indices, with no rule of its own. The sound driver is `DriverQueue`.

import type { VirtqueueConfig } from '../virtio/virtqueue.ts';

export interface Descriptor {
  /** Up to 2^53; the high half goes to the descriptor's high word. */
  readonly address: number;
  readonly length: number;
  /** VIRTQ_DESC_F_* */
  readonly flags: number;
  readonly next: number;
}

/** A queue of `size` entries whose rings follow each other from `at` on, a multiple of 16. */
export function ringConfig(
  size: number,
  at: number,
  features: { eventIdx?: boolean; indirect?: boolean } = {},
): VirtqueueConfig {
  const avail = at + 16 * size;
  const used = Math.ceil((avail + 6 + 2 * size) / 4) * 4;
  const { eventIdx = false, indirect = true } = features;
  return { size, desc: at, avail, used, eventIdx, indirect };
}

/** Where the rings of `config` end. */
export function ringEnd(config: VirtqueueConfig): number {
  return config.used + 6 + 8 * config.size;
}

export class RingBuilder {
  readonly #data: DataView;
  readonly #config: VirtqueueConfig;

  /** `ram`: guest RAM from address 0 on. */
  constructor(ram: Uint8Array, config: VirtqueueConfig) {
    this.#data = new DataView(ram.buffer, ram.byteOffset, ram.length);
    this.#config = config;
  }

  /** Writes a descriptor at `address`, which is anywhere in RAM. */
  describe(address: number, { address: to, length, flags, next }: Descriptor): void {
    this.#data.setUint32(address, to % 2 ** 32, true);
    this.#data.setUint32(address + 4, Math.floor(to / 2 ** 32), true);
    this.#data.setUint32(address + 8, length, true);
    this.#data.setUint16(address + 12, flags, true);
    this.#data.setUint16(address + 14, next, true);
  }

  /** Writes entry `index` of the ring's own table. */
  descriptor(index: number, descriptor: Descriptor): void {
    this.describe(this.#config.desc + 16 * index, descriptor);
  }

  /** Writes a request header. */
  header(address: number, type: number, sector: number): void {
    this.#data.setUint32(address, type, true);
    this.#data.setUint32(address + 4, 0, true);
    this.#data.setBigUint64(address + 8, BigInt(sector), true);
  }

  /** Puts `head` into the avail ring and moves its index: one chain offered. */
  offer(head: number): void {
    const idx = this.availIdx;
    this.setAvailEntry(idx, head);
    this.availIdx = idx + 1;
  }
  setAvailEntry(idx: number, head: number): void {
    const slot = idx & (this.#config.size - 1);
    this.#data.setUint16(this.#config.avail + 4 + 2 * slot, head, true);
  }

  get availIdx(): number {
    return this.#data.getUint16(this.#config.avail + 2, true);
  }
  set availIdx(idx: number) {
    this.#data.setUint16(this.#config.avail + 2, idx, true);
  }
  set availFlags(flags: number) {
    this.#data.setUint16(this.#config.avail, flags, true);
  }
  get usedEvent(): number {
    return this.#data.getUint16(this.#config.avail + 4 + 2 * this.#config.size, true);
  }
  set usedEvent(idx: number) {
    this.#data.setUint16(this.#config.avail + 4 + 2 * this.#config.size, idx, true);
  }

  get usedIdx(): number {
    return this.#data.getUint16(this.#config.used + 2, true);
  }
  set usedIdx(idx: number) {
    this.#data.setUint16(this.#config.used + 2, idx, true);
  }
  get usedFlags(): number {
    return this.#data.getUint16(this.#config.used, true);
  }
  get availEvent(): number {
    return this.#data.getUint16(this.#config.used + 4 + 8 * this.#config.size, true);
  }
  /** The used element at ring position `idx`: [id, length]. */
  usedElement(idx: number): readonly [number, number] {
    const at = this.#config.used + 4 + 8 * (idx & (this.#config.size - 1));
    return [this.#data.getUint32(at, true), this.#data.getUint32(at + 4, true)];
  }
  /** Writes a used element and moves the index, as a device would. */
  complete(id: number, length: number): void {
    const idx = this.usedIdx;
    const at = this.#config.used + 4 + 8 * (idx & (this.#config.size - 1));
    this.#data.setUint32(at, id, true);
    this.#data.setUint32(at + 4, length, true);
    this.usedIdx = idx + 1;
  }
}
