// Serves one virtqueue of a virtio-blk device, a batch at a time: pop, execute, publish. A request
// that the graph answers with a number costs no promise, no closure and no allocation, and all that
// were answered in one go share one interrupt decision.

import { IOVector } from '../base/io-vector.ts';
import type { MemoryRegion } from '../base/memory-region.ts';
import type { BottomHalf } from '../aio/aio-context.ts';
import { EIO, EINVAL, ENOTSUP } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import type { BlockBackend } from '../block/block-backend.ts';
import { REQ_MAY_UNMAP } from '../block/block-driver.ts';
import type { VirtioBlk } from './virtio-blk.ts';
import {
  SECTOR_SIZE,
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from './spec.ts';
import type { Virtqueue } from './virtqueue.ts';
import {
  REQUEST_WORDS,
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
  VQ_BAD_HEADER,
  VQ_OK,
} from './virtqueue.ts';

/** Chains taken per pop. */
const BATCH = 64;
/** Completions published at once: a driver that polls refills while the rest is being served. */
const PUBLISH = 16;
/** Largest DISCARD or WRITE_ZEROES, sectors; the device's config space says the same. */
export const MAX_DISCARD_SECTORS = 4194303;
/** Bytes of struct virtio_blk_discard_write_zeroes. */
const DISCARD_SEGMENT = 16;

/** A request waiting for a promise. Pooled, with its callback bound once. */
class Pending {
  qiov: IOVector;
  type = 0;
  head = 0;
  statusAddr = 0;
  bytes = 0;
  offset = 0;
  readonly done: (ret: Ret) => void;

  constructor(queue: RequestQueue, region: MemoryRegion) {
    this.qiov = new IOVector(region);
    this.done = (ret): void => queue.finish(this, ret);
  }
}

export class RequestQueue {
  readonly #device: VirtioBlk;
  readonly #index: number;
  readonly #queue: Virtqueue;
  readonly #region: MemoryRegion;
  readonly #pool: Pending[] = [];
  readonly #publishLater: BottomHalf;
  readonly #segment = new Uint8Array(DISCARD_SEGMENT);
  readonly #segmentView = new DataView(this.#segment.buffer);
  #qiov: IOVector;
  #stopped = false;
  #staged = 0;
  #wantsCall = false;
  /** Requests served, those answered at once, and interrupts raised. */
  readonly counters = { requests: 0, answeredSync: 0, batches: 0, interrupts: 0, pendings: 0 };

  constructor(device: VirtioBlk, index: number, queue: Virtqueue, region: MemoryRegion) {
    this.#device = device;
    this.#index = index;
    this.#queue = queue;
    this.#region = region;
    this.#qiov = new IOVector(region);
    this.#publishLater = device.context.newBottomHalf(() => this.#publish());
    if (queue.error !== VQ_OK) device.break(queue.error);
  }

  hasWork(): boolean {
    return !this.#stopped && this.#queue.hasAvailable();
  }

  /** Asks for kicks again before the loop sleeps; true when there is work already. */
  enableNotification(): boolean {
    return !this.#stopped && this.#queue.enableNotification();
  }

  /** Touches the ring no more: the guest reset the device, broke it, or it was removed. */
  stop(): void {
    this.#stopped = true;
    this.#publishLater.cancel();
  }

  /**
   * Publishes what is complete and stops; answers where the rings stand. Nothing is in flight.
   * Undefined where the queue is broken: the driver has to reset it.
   */
  leave(): readonly [number, number] | undefined {
    if (this.#stopped) return undefined;
    this.#publish();
    this.stop();
    return this.#queue.error === VQ_OK ? this.#queue.save() : undefined;
  }

  /**
   * Serves what the queue holds, at most one ring's worth so that other queues get their turn.
   * True when there was something.
   */
  serve(): boolean {
    const queue = this.#queue;
    let taken = 0;
    if (!this.#stopped && !this.#device.everyKick) queue.disableNotification();
    while (!this.#stopped && taken < queue.size) {
      const n = queue.pop(BATCH);
      for (let i = 0; i < n; i++) {
        this.#execute(queue.requests, i * REQUEST_WORDS);
        if (this.#staged >= PUBLISH) this.#stage();
      }
      taken += n;
      if (queue.error !== VQ_OK) this.#device.break(queue.error);
      if (n === 0) break;
      this.counters.batches += 1;
      this.#publish();
    }
    this.counters.requests += taken;
    return taken > 0;
  }

  /** Completion of a request that had to wait. */
  finish(request: Pending, ret: Ret): void {
    if (!this.#stopped) {
      this.#complete(request.type, request.head, request.statusAddr, request.bytes, ret);
      if (ret < 0) this.#report(request.type, ret, request.offset);
      this.#publishLater.schedule();
    }
    this.#pool.push(request);
  }

  #execute(table: Uint32Array, at: number): void {
    const type = table[at + REQ_TYPE]!;
    const head = table[at + REQ_HEAD]!;
    const statusAddr = table[at + REQ_STATUS_ADDR]!;
    const sector = table[at + REQ_SECTOR_HI]! * 2 ** 32 + table[at + REQ_SECTOR_LO]!;
    let bytes = 0;
    let ret: MaybeRet;
    try {
      if (type === VIRTIO_BLK_T_IN) {
        bytes = table[at + REQ_IN_BYTES]!;
        ret = this.#read(table, at, sector, bytes);
      } else if (type === VIRTIO_BLK_T_OUT) {
        ret = this.#write(table, at, sector);
      } else if (type === VIRTIO_BLK_T_FLUSH) {
        ret = this.#device.backend.flush();
      } else if (type === VIRTIO_BLK_T_GET_ID) {
        bytes = ret = this.#getId(table, at);
      } else if (type === VIRTIO_BLK_T_DISCARD || type === VIRTIO_BLK_T_WRITE_ZEROES) {
        ret = this.#discard(table, at, type);
      } else {
        ret = -ENOTSUP;
      }
    } catch (error) {
      // A driver of ours threw: the guest gets an I/O error, and the device lives on.
      this.#device.backend.reportBug(error);
      ret = -EIO;
    }
    if (this.#stopped) return;
    if (typeof ret === 'number') {
      this.counters.answeredSync += 1;
      this.#complete(type, head, statusAddr, bytes, ret);
      if (ret < 0) this.#report(type, ret, sector * SECTOR_SIZE);
      return;
    }
    this.#wait(ret, type, head, statusAddr, bytes, sector * SECTOR_SIZE);
  }

  #read(table: Uint32Array, at: number, sector: number, bytes: number): MaybeRet {
    if (!this.#inRange(sector, bytes)) return -EINVAL;
    if (bytes === 0) return 0;
    const first = table[at + REQ_IN_FIRST]!;
    const count = table[at + REQ_IN_COUNT]!;
    this.#qiov.reset(this.#region, this.#queue.segments, 2 * first, count, bytes);
    return this.#device.backend.preadv(sector * SECTOR_SIZE, this.#qiov, 0);
  }

  #write(table: Uint32Array, at: number, sector: number): MaybeRet {
    const bytes = table[at + REQ_OUT_BYTES]!;
    if (!this.#inRange(sector, bytes)) return -EINVAL;
    if (bytes === 0) return 0;
    const first = table[at + REQ_OUT_FIRST]!;
    const count = table[at + REQ_OUT_COUNT]!;
    this.#qiov.reset(this.#region, this.#queue.segments, 2 * first, count, bytes);
    return this.#writing().pwritev(sector * SECTOR_SIZE, this.#qiov, 0);
  }

  /** The serial number, NUL-padded; answers the bytes written (5.2.6). */
  #getId(table: Uint32Array, at: number): Ret {
    const bytes = Math.min(table[at + REQ_IN_BYTES]!, VIRTIO_BLK_ID_BYTES);
    if (bytes === 0) return 0;
    const first = table[at + REQ_IN_FIRST]!;
    const count = table[at + REQ_IN_COUNT]!;
    const size = table[at + REQ_IN_BYTES]!;
    this.#qiov.reset(this.#region, this.#queue.segments, 2 * first, count, size);
    this.#qiov.copyFrom(this.#device.serial, 0, 0, bytes);
    return bytes;
  }

  /** DISCARD and WRITE_ZEROES: one segment, as config space says (5.2.6.2). */
  #discard(table: Uint32Array, at: number, type: number): MaybeRet {
    const size = table[at + REQ_OUT_BYTES]!;
    if (size > DISCARD_SEGMENT) return -ENOTSUP;
    if (size < DISCARD_SEGMENT) {
      this.#device.break(VQ_BAD_HEADER);
      return -EINVAL;
    }
    const first = table[at + REQ_OUT_FIRST]!;
    const count = table[at + REQ_OUT_COUNT]!;
    this.#qiov.reset(this.#region, this.#queue.segments, 2 * first, count, size);
    this.#qiov.copyTo(this.#segment);
    const view = this.#segmentView;
    const sector = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
    const sectors = view.getUint32(8, true);
    const flags = view.getUint32(12, true);
    if ((flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) !== 0) return -ENOTSUP;
    if (type === VIRTIO_BLK_T_DISCARD && flags !== 0) return -ENOTSUP;
    const bytes = sectors * SECTOR_SIZE;
    if (sectors > MAX_DISCARD_SECTORS || !this.#inRange(sector, bytes)) return -EINVAL;
    const backend = this.#writing();
    if (type === VIRTIO_BLK_T_DISCARD) return backend.pdiscard(sector * SECTOR_SIZE, bytes);
    return backend.pwriteZeroes(sector * SECTOR_SIZE, bytes, flags === 0 ? 0 : REQ_MAY_UNMAP);
  }

  /** The backend, for a write; the driver may have turned its write cache on or off before this one. */
  #writing(): BlockBackend {
    const { backend, writeCache } = this.#device;
    backend.enableWriteCache = writeCache;
    return backend;
  }

  /** Whole sectors, inside the disk. A sector too large for a double is far beyond any disk. */
  #inRange(sector: number, bytes: number): boolean {
    return bytes % SECTOR_SIZE === 0 && sector * SECTOR_SIZE + bytes <= this.#device.backend.length;
  }

  #wait(
    promise: Promise<Ret>,
    type: number,
    head: number,
    statusAddr: number,
    bytes: number,
    offset: number,
  ): void {
    let request = this.#pool.pop();
    if (request === undefined) {
      request = new Pending(this, this.#region);
      this.counters.pendings += 1;
    }
    // The driver below holds our vector: it goes with the request, and we take the idle one.
    const qiov = this.#qiov;
    qiov.detach();
    this.#qiov = request.qiov;
    request.qiov = qiov;
    request.type = type;
    request.head = head;
    request.statusAddr = statusAddr;
    request.bytes = bytes;
    request.offset = offset;
    void promise.then(request.done);
  }

  #complete(type: number, head: number, statusAddr: number, bytes: number, ret: Ret): void {
    let status = VIRTIO_BLK_S_OK;
    if (ret < 0) {
      this.#device.channel.setLastErrno(-ret);
      const unsupported = ret === -ENOTSUP && type !== VIRTIO_BLK_T_IN && type !== VIRTIO_BLK_T_OUT;
      status = unsupported ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
    }
    this.#queue.push(head, (ret < 0 ? 0 : bytes) + 1, statusAddr, status);
    this.#staged += 1;
  }

  /** Publishes what is complete, and remembers whether the driver wants to hear of it. */
  #stage(): void {
    this.#staged = 0;
    if (this.#queue.flush()) this.#wantsCall = true;
  }

  #publish(): void {
    if (this.#staged > 0) this.#stage();
    if (!this.#wantsCall) return;
    this.#wantsCall = false;
    this.counters.interrupts += 1;
    this.#device.call(this.#index);
  }

  #report(type: number, ret: Ret, offset: number): void {
    if (ret === -EINVAL || ret === -ENOTSUP) return; // The driver's own mistake, not the disk's.
    if (type === VIRTIO_BLK_T_IN) this.#device.onError('read', ret, offset);
    else if (type === VIRTIO_BLK_T_OUT) this.#device.onError('write', ret, offset);
    else if (type === VIRTIO_BLK_T_FLUSH) this.#device.onError('flush', ret, offset);
    else if (type === VIRTIO_BLK_T_DISCARD) this.#device.onError('discard', ret, offset);
    else this.#device.onError('write-zeroes', ret, offset);
  }
}
