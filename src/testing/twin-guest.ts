// A guest with one plain request in every ring entry, over both queues in step: for tests of what
// happens around requests.

import {
  REQ_HEAD,
  REQ_STATUS_ADDR,
  REQUEST_WORDS,
  type VirtqueueConfig,
} from '../virtio/virtqueue.ts';
import { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from '../virtio/spec.ts';
import { QueueTwins } from './queue-twins.ts';
import { RingBuilder, ringConfig } from './ring-builder.ts';

/** Bytes of guest RAM, unless said otherwise. */
export const GUEST_RAM = 65_533;
/** Where tests may put headers and data; the rings of small queues end far below. */
export const GUEST_TABLE = 16_384;
export const GUEST_HEADER = 32_768;
const STATUS = 36_864;
const DATA = 40_960;

export class TwinGuest {
  readonly twins: QueueTwins;
  readonly config: VirtqueueConfig;
  readonly ring: RingBuilder;

  constructor(
    size: number,
    features: { eventIdx?: boolean; indirect?: boolean } = {},
    ram: number = GUEST_RAM,
  ) {
    this.twins = new QueueTwins(ram, true);
    this.config = ringConfig(size, 0, features);
    this.ring = new RingBuilder(this.twins.ram, this.config);
    this.twins.start(this.config);
  }

  /** Makes entry `index` a write of 512 bytes through an indirect table, all share one. */
  format(): void {
    this.ring.header(GUEST_HEADER, 1, 7);
    this.ring.describe(GUEST_TABLE, {
      address: GUEST_HEADER,
      length: 16,
      flags: VIRTQ_DESC_F_NEXT,
      next: 1,
    });
    this.ring.describe(GUEST_TABLE + 16, {
      address: DATA,
      length: 512,
      flags: VIRTQ_DESC_F_NEXT,
      next: 2,
    });
    this.ring.describe(GUEST_TABLE + 32, {
      address: STATUS,
      length: 1,
      flags: VIRTQ_DESC_F_WRITE,
      next: 0,
    });
    for (let i = 0; i < this.config.size; i++) {
      this.ring.descriptor(i, {
        address: GUEST_TABLE,
        length: 48,
        flags: VIRTQ_DESC_F_INDIRECT,
        next: 0,
      });
    }
    this.twins.sync();
  }

  offer(count: number): void {
    for (let i = 0; i < count; i++) this.ring.offer(this.ring.availIdx % this.config.size);
    this.twins.sync();
  }

  /** Serves `count` chains and flushes once. */
  serve(count: number): boolean {
    for (let left = count; left > 0;) {
      const popped = this.twins.pop(left);
      if (popped === 0) throw new Error(`${left} chains missing, error ${this.twins.ts.error}`);
      for (let i = 0; i < popped; i++) this.complete(i);
      left -= popped;
    }
    const interrupt = this.twins.flush();
    this.twins.compareRam();
    return interrupt;
  }

  complete(i: number): void {
    const at = i * REQUEST_WORDS;
    const { requests } = this.twins.ts;
    this.twins.push(requests[at + REQ_HEAD]!, 1, requests[at + REQ_STATUS_ADDR]!, 0);
  }
}
