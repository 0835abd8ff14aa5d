// The queue registers of a virtio-pci transport (virtio 1.2, 4.1.4.3): one set per queue behind a
// selector. What the driver wrote is checked when it enables the queue, and frozen from then on.

import { BlockError } from '../block/block-error.ts';
import type { QueueSetup } from './device-channel.ts';
import { VQ_OK, checkConfig } from './virtqueue.ts';

/** One queue of a saved state; with nothing in flight one index says where both rings are. */
export interface SavedQueue {
  /** Entries: queue_size. */
  readonly size: number;
  /** queue_enable. */
  readonly enabled: boolean;
  /** desc, avail, used: low and high half of each. */
  readonly addresses: readonly number[];
  /** Free-running index of the next request, mod 65536. */
  readonly index: number;
}

interface Queue {
  size: number;
  enabled: boolean;
  readonly addresses: number[];
  index: number;
}

const WORDS = 6;

export class VirtioPciQueues {
  /** queue_select; may name a queue that does not exist. */
  selected = 0;
  readonly #queues: Queue[] = [];
  readonly #maxSize: number;
  readonly #ramBytes: number;

  constructor(numQueues: number, maxSize: number, ramBytes: number) {
    this.#maxSize = maxSize;
    this.#ramBytes = ramBytes;
    for (let q = 0; q < numQueues; q++) {
      this.#queues.push({ size: maxSize, enabled: false, addresses: zeroes(), index: 0 });
    }
  }

  reset(): void {
    this.selected = 0;
    for (const queue of this.#queues) {
      queue.size = this.#maxSize;
      queue.enabled = false;
      queue.addresses.fill(0);
      queue.index = 0;
    }
  }

  /** queue_size of the selected queue; 0 when there is none such. */
  get size(): number {
    return this.#queues[this.selected]?.size ?? 0;
  }
  /** The driver may shrink a queue, to a power of two; other values are ignored. */
  set size(value: number) {
    const queue = this.#queues[this.selected];
    if (queue === undefined || queue.enabled) return;
    if (value < 1 || value > this.#maxSize || (value & (value - 1)) !== 0) return;
    queue.size = value;
  }

  /** queue_enable of the selected queue. */
  get enabled(): boolean {
    return this.#queues[this.selected]?.enabled ?? false;
  }

  isEnabled(q: number): boolean {
    return this.#queues[q]?.enabled ?? false;
  }

  /** Word `i` of the selected queue's addresses: desc, avail, used, each low half then high half. */
  address(i: number): number {
    return this.#queues[this.selected]?.addresses[i] ?? 0;
  }
  setAddress(i: number, value: number): void {
    const queue = this.#queues[this.selected];
    if (queue === undefined || queue.enabled) return;
    queue.addresses[i] = value;
  }

  /**
   * Enables the selected queue. False when its rings do not lie in guest memory as they have to;
   * it then stays disabled. A queue that does not exist is ignored. `packed`: RING_PACKED was taken.
   */
  enable(packed: boolean): boolean {
    const queue = this.#queues[this.selected];
    if (queue === undefined || queue.enabled) return true;
    const [, descHigh, , availHigh, , usedHigh] = queue.addresses;
    const high = descHigh! | availHigh! | usedHigh!;
    queue.enabled = high === 0 && isInside(queue, this.#ramBytes, packed);
    return queue.enabled;
  }

  /** Queue `q` for the data plane; size 0 when it is not enabled. */
  setup(q: number): QueueSetup {
    const { size, enabled, addresses, index } = this.#queues[q]!;
    const [desc, , avail, , used] = addresses;
    const at = { desc: desc!, avail: avail!, used: used!, lastAvail: index, usedIdx: index };
    return { size: enabled ? size : 0, ...at };
  }

  /**
   * `guest` reads the rings of a running device; EBUSY while a request is not completed. ENOTSUP for
   * packed rings of a running device: nothing in guest memory says where they are.
   */
  save(packed: boolean, guest?: { guestWord(address: number): number }): SavedQueue[] {
    if (packed && guest !== undefined) {
      throw new BlockError('ENOTSUP', 'the state of a device with packed rings cannot be saved');
    }
    return this.#queues.map(({ size, enabled, addresses }, q) => {
      let index = 0;
      if (enabled && guest !== undefined) {
        index = guest.guestWord(addresses[4]! + 2);
        if (guest.guestWord(addresses[2]! + 2) !== index) {
          throw new BlockError('EBUSY', `queue ${q} has requests in flight`);
        }
      }
      return { size, enabled, addresses: addresses.slice(), index };
    });
  }

  /** Throws EINVAL when `saved` does not fit this device. */
  check(saved: readonly SavedQueue[], packed: boolean): void {
    if (saved.length !== this.#queues.length) {
      throw new BlockError(
        'EINVAL',
        `the saved state has ${saved.length} queues, the device ${this.#queues.length}`,
      );
    }
    saved.forEach(({ size, enabled, addresses, index }, q) => {
      const fits =
        size <= this.#maxSize &&
        addresses.length === WORDS &&
        index >= 0 &&
        index <= 0xffff &&
        (!enabled || isInside({ size, addresses }, this.#ramBytes, packed));
      if (!fits) throw new BlockError('EINVAL', `the saved queue ${q} does not fit this device`);
    });
  }

  /** Puts `saved` back, which `check` has passed. */
  restore(saved: readonly SavedQueue[], selected: number): void {
    this.selected = selected;
    saved.forEach((from, q) => {
      const { size, enabled, index } = from;
      this.#queues[q] = { size, enabled, addresses: from.addresses.slice(), index };
    });
  }
}

function isInside(
  queue: { readonly size: number; readonly addresses: readonly number[] },
  ramBytes: number,
  packed: boolean,
): boolean {
  const [desc, , avail, , used] = queue.addresses;
  const rings = { size: queue.size, desc: desc!, avail: avail!, used: used! };
  return checkConfig({ ...rings, eventIdx: true, indirect: true, packed }, ramBytes) === VQ_OK;
}

function zeroes(): number[] {
  return new Array<number>(WORDS).fill(0);
}
