// Walks the chains that a guest's driver has made available, on the emulator's thread, and reports
// where the device will write. An IOThread that writes guest memory in place cannot tell the
// emulator's JIT compiler that code there has changed; this does it for each chain, before the
// driver can learn of its completion. Trusts nothing that it reads; a broken chain is the IOThread's
// to report.

import type { QueueSetup } from '../virtio/device-channel.ts';
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../virtio/spec.ts';
import { MAX_CHAIN } from '../virtio/virtqueue.ts';

const DESC_BYTES = 16;

export class GuestBuffers {
  /** Chains walked. */
  chains = 0;
  readonly #ram: DataView;
  readonly #halves: Uint16Array;
  readonly #setup: QueueSetup;
  readonly #onWritable: (from: number, to: number) => void;
  readonly #eventIdx: boolean;
  #seen: number;
  /** The used index when the last interrupt was taken. */
  #signalled: number;

  /**
   * `ram`: guest memory, shared; `setup`: a queue whose rings lie in it. `onWritable` gets the
   * guest addresses `[from, to)` of each device-writable buffer, inside guest memory. `eventIdx`:
   * VIRTIO_F_EVENT_IDX was negotiated.
   */
  constructor(
    ram: Uint8Array,
    setup: QueueSetup,
    eventIdx: boolean,
    onWritable: (from: number, to: number) => void,
  ) {
    this.#ram = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.#halves = new Uint16Array(ram.buffer, ram.byteOffset, ram.byteLength >> 1);
    this.#setup = setup;
    this.#onWritable = onWritable;
    this.#eventIdx = eventIdx;
    this.#seen = setup.lastAvail;
    this.#signalled = setup.usedIdx;
  }

  /** Chains made available and not yet in the used ring. */
  get inFlight(): number {
    const count = (this.#seen - this.#used) & 0xffff;
    return count <= this.#setup.size ? count : 0; // completed before it was seen
  }

  /**
   * Whether an interrupt is to come that the driver wants (2.7.7): for chains in flight, or for what is
   * in the used ring already, which the device fills a moment before it interrupts.
   */
  get expecting(): boolean {
    const { avail, size } = this.#setup;
    if (this.#eventIdx) {
      if (this.inFlight > 0) return true;
      const used = this.#used;
      const event = Atomics.load(this.#halves, avail / 2 + 2 + size);
      return ((used - event - 1) & 0xffff) < ((used - this.#signalled) & 0xffff);
    }
    const flags = Atomics.load(this.#halves, avail / 2);
    if ((flags & VIRTQ_AVAIL_F_NO_INTERRUPT) !== 0) return false;
    return this.inFlight > 0 || this.#used !== this.#signalled;
  }

  /** An interrupt was taken: it tells of all that is in the used ring. */
  signalled(): void {
    this.#signalled = this.#used;
  }

  get #used(): number {
    return Atomics.load(this.#halves, this.#setup.used / 2 + 1);
  }

  /** Walks the chains that are new. One load when there are none. */
  scan(): void {
    const { avail, size } = this.#setup;
    const idx = Atomics.load(this.#halves, avail / 2 + 1);
    let fresh = (idx - this.#seen) & 0xffff;
    if (fresh === 0) return;
    if (fresh > size) fresh = size; // nonsense; the IOThread stops the queue
    for (let i = idx - fresh; i < idx; i++) {
      this.#walk(this.#halves[avail / 2 + 2 + (i & (size - 1))]!);
    }
    this.chains += fresh;
    this.#seen = idx;
  }

  #walk(head: number): void {
    const ram = this.#ram;
    let table = this.#setup.desc;
    let entries = this.#setup.size;
    let indirect = false;
    let index = head;
    for (let step = 0; step <= MAX_CHAIN + 1 && index < entries; step++) {
      const at = table + DESC_BYTES * index;
      const address = ram.getUint32(at, true);
      const length = ram.getUint32(at + 8, true);
      const flags = ram.getUint16(at + 12, true);
      const inside = ram.getUint32(at + 4, true) === 0 && address + length <= ram.byteLength;
      if (!inside || length === 0) return;
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) {
        if (indirect) return;
        indirect = true;
        table = address;
        entries = Math.floor(length / DESC_BYTES);
        index = 0;
        continue;
      }
      if ((flags & VIRTQ_DESC_F_WRITE) !== 0) this.#onWritable(address, address + length);
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) return;
      index = ram.getUint16(at + 14, true);
    }
  }
}
