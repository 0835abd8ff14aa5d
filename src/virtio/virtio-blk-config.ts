// The block device as its driver sees it before the first request: feature bits (virtio 1.2, 5.2.3)
// and configuration space (5.2.4). The capacity is read from the channel at each access, since the
// IOThread may resize the disk at any time.

import type { TransportChannel } from './transport-channel.ts';
import {
  SECTOR_SIZE,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from './spec.ts';

// Offsets in struct virtio_blk_config (5.2.4).
const CAPACITY = 0;
const SEG_MAX = 12;
const BLK_SIZE = 20;
const PHYSICAL_BLOCK_EXP = 24;
const WRITEBACK = 32;
const NUM_QUEUES = 34;
const MAX_DISCARD_SECTORS = 36;
const MAX_DISCARD_SEG = 40;
const DISCARD_SECTOR_ALIGNMENT = 44;
const MAX_WRITE_ZEROES_SECTORS = 48;
const MAX_WRITE_ZEROES_SEG = 52;
const WRITE_ZEROES_MAY_UNMAP = 56;
/** Bytes of configuration space; reads beyond answer zero. */
export const VIRTIO_BLK_CONFIG_BYTES = 60;

/** Most sectors of one request (QEMU's BDRV_REQUEST_MAX_SECTORS on a 31-bit byte count). */
export const VIRTIO_BLK_MAX_SECTORS = 4194303;

export interface VirtioBlkConfigOptions {
  readonly channel: TransportChannel;
  /** Entries of a queue; a request may have two descriptors less. */
  readonly queueSize: number;
  readonly readOnly: boolean;
  /** Off: the cache mode is writethrough until a driver that can (CONFIG_WCE) changes it. Default on. */
  readonly writeCache?: boolean;
  /** Bytes that the disk likes to write at once; a power of two of at least 512. Default 4096. */
  readonly physicalBlockSize?: number;
  /** Bytes that a discard should be a multiple of. Default: `physicalBlockSize`. */
  readonly discardGranularity?: number;
  /** Offers packed virtqueues as well: where every data path behind the channel takes them. */
  readonly packed?: boolean;
}

export class VirtioBlkConfig {
  /** Feature bits that the device offers. */
  readonly features: bigint;
  readonly #channel: TransportChannel;
  readonly #writeCache: boolean;
  readonly #view: DataView = new DataView(new ArrayBuffer(VIRTIO_BLK_CONFIG_BYTES));

  constructor(options: VirtioBlkConfigOptions) {
    const { channel, queueSize, readOnly } = options;
    const physical = options.physicalBlockSize ?? 4096;
    const granularity = options.discardGranularity ?? physical;
    this.#channel = channel;
    this.#writeCache = options.writeCache ?? true;
    this.features = offeredFeatures(readOnly, channel.numQueues, options.packed === true);
    const view = this.#view;
    view.setUint32(SEG_MAX, Math.max(queueSize - 2, 1), true);
    view.setUint32(BLK_SIZE, SECTOR_SIZE, true);
    view.setUint8(PHYSICAL_BLOCK_EXP, Math.max(0, Math.log2(physical / SECTOR_SIZE)));
    view.setUint16(NUM_QUEUES, channel.numQueues, true);
    view.setUint32(MAX_DISCARD_SECTORS, VIRTIO_BLK_MAX_SECTORS, true);
    view.setUint32(MAX_DISCARD_SEG, 1, true);
    view.setUint32(DISCARD_SECTOR_ALIGNMENT, granularity / SECTOR_SIZE, true);
    view.setUint32(MAX_WRITE_ZEROES_SECTORS, VIRTIO_BLK_MAX_SECTORS, true);
    view.setUint32(MAX_WRITE_ZEROES_SEG, 1, true);
    view.setUint8(WRITE_ZEROES_MAY_UNMAP, 1);
    this.reset();
  }

  /** Device reset: the write cache is as it was at first. */
  reset(): void {
    this.writeback = this.#writeCache;
  }

  /** The driver's choice of cache mode; counts only where CONFIG_WCE was negotiated. */
  get writeback(): boolean {
    return this.#view.getUint8(WRITEBACK) !== 0;
  }
  set writeback(on: boolean) {
    this.#view.setUint8(WRITEBACK, on ? 1 : 0);
  }

  /** `width` (1, 2 or 4) bytes at `offset`, little endian; unsigned. */
  read(offset: number, width: number): number {
    if (offset < CAPACITY + 8) {
      const sectors = this.#channel.capacity;
      this.#view.setUint32(CAPACITY, sectors >>> 0, true);
      this.#view.setUint32(CAPACITY + 4, Math.floor(sectors / 2 ** 32), true);
    }
    let value = 0;
    for (let i = Math.min(width, VIRTIO_BLK_CONFIG_BYTES - offset) - 1; i >= 0; i--) {
      value = value * 256 + this.#view.getUint8(offset + i);
    }
    return value;
  }

  /** A write by the driver. Only `writeback` may be written; answers true when it was. */
  write(offset: number, width: number, value: number): boolean {
    if (offset > WRITEBACK || offset + width <= WRITEBACK) return false;
    this.writeback = ((value >>> (8 * (WRITEBACK - offset))) & 0xff) !== 0;
    return true;
  }
}

function offeredFeatures(readOnly: boolean, numQueues: number, packed: boolean): bigint {
  const bits = [
    VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_BLK_SIZE,
    VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_CONFIG_WCE,
    VIRTIO_F_INDIRECT_DESC,
    VIRTIO_F_EVENT_IDX,
    VIRTIO_F_VERSION_1,
  ];
  if (readOnly) bits.push(VIRTIO_BLK_F_RO);
  else bits.push(VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES);
  if (packed) bits.push(VIRTIO_F_RING_PACKED);
  if (numQueues > 1) bits.push(VIRTIO_BLK_F_MQ);
  return bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
}
