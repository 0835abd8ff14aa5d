// Promises over a RequestDriver: splits what is long, queues what finds no slot, widens what is
// not whole sectors, and turns status bytes into BlockErrors.

import { CoRwlock } from './aio/co-rwlock.ts';
import { BlockError } from './block/block-error.ts';
import { errorCode } from './base/ret.ts';
import type { DeviceHandle } from './iothread/device-handle.ts';
import { MAX_DISCARD_SECTORS } from './virtio/request-queue.ts';
import {
  SECTOR_SIZE,
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from './virtio/spec.ts';
import { MAX_REQUEST_BYTES } from './virtio/request-driver.ts';
import type { RequestDriver } from './virtio/request-driver.ts';
import { VQ_ERRORS } from './virtio/virtqueue.ts';

/** One request of at most MAX_REQUEST_BYTES, whole sectors. */
interface Piece {
  readonly type: number;
  readonly offset: number;
  readonly bytes: number;
  /** Puts the data into the slot, for requests that carry some. */
  readonly fill?: (slot: number) => void;
  /** Takes the data from the slot. */
  readonly drain?: (slot: number) => void;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly signal: AbortSignal | undefined;
}

const NAMES = new Map<number, string>([
  [VIRTIO_BLK_T_IN, 'read'],
  [VIRTIO_BLK_T_OUT, 'write'],
  [VIRTIO_BLK_T_FLUSH, 'flush'],
  [VIRTIO_BLK_T_GET_ID, 'sync'],
  [VIRTIO_BLK_T_WRITE_ZEROES, 'writeZeroes'],
]);

export class DiskRequests {
  readonly #driver: RequestDriver;
  readonly #device: DeviceHandle;
  readonly #node: string;
  readonly #inSlot: (Piece | undefined)[] = [];
  readonly #waiting: Piece[] = [];
  readonly #onDone: (slot: number, status: number) => void;
  /** Writes share it; a write of part of a sector has it alone. */
  readonly #writing = new CoRwlock();
  /** As the device was told when it was made. */
  readOnly = false;
  #kickScheduled = false;
  #closed = false;
  /** Those who wait until nothing is in flight. */
  #onIdle: (() => void)[] = [];

  constructor(driver: RequestDriver, device: DeviceHandle, node: string) {
    this.#driver = driver;
    this.#device = device;
    this.#node = node;
    this.#onDone = (slot, status): void => this.#finish(slot, status);
    device.onCall(() => this.#look());
  }

  /** Bytes, as the device reports it now. */
  get length(): number {
    return this.#device.channel.capacity * SECTOR_SIZE;
  }

  async read(offset: number, into: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const start = offset - (offset % SECTOR_SIZE);
    const end = offset + into.length;
    const pieces: Promise<void>[] = [];
    for (let at = start; at < end; at += MAX_REQUEST_BYTES) {
      const bytes = Math.min(MAX_REQUEST_BYTES, roundUp(end) - at);
      const from = Math.max(at, offset);
      const part = into.subarray(from - offset, Math.min(at + bytes, end) - offset);
      pieces.push(
        this.#submit(VIRTIO_BLK_T_IN, at, bytes, signal, {
          drain: (slot) => this.#driver.get(slot, from - at, part),
        }),
      );
    }
    await Promise.all(pieces);
  }

  async write(offset: number, from: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const whole = offset % SECTOR_SIZE === 0 && from.length % SECTOR_SIZE === 0;
    await (whole
      ? this.#writing.withRdlock(() => this.#writeSectors(offset, from, signal), signal)
      : this.#writing.withWrlock(() => this.#writeUnaligned(offset, from, signal), signal));
  }

  async range(
    type: number,
    offset: number,
    bytes: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await this.#writing.withRdlock(() => this.#segments(type, offset, bytes, signal), signal);
  }

  flush(signal: AbortSignal | undefined): Promise<void> {
    return this.#submit(VIRTIO_BLK_T_FLUSH, 0, 0, signal, {});
  }

  /**
   * Resolves when this side knows of the device what the IOThread knew before: where news of it come
   * as messages, they overtake no answer.
   */
  async sync(signal: AbortSignal | undefined): Promise<void> {
    await this.#submit(VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES, signal, {});
  }

  /** Waits for what is in flight, then removes the device. What comes later is ENODEV. */
  async close(): Promise<void> {
    await this.#writing.withWrlock(() => {});
    await this.#idle();
    this.#closed = true;
    await this.#device.remove();
    this.#device.onCall(null);
  }

  async #segments(
    type: number,
    offset: number,
    bytes: number,
    signal?: AbortSignal,
  ): Promise<void> {
    const pieces: Promise<void>[] = [];
    const limit = MAX_DISCARD_SECTORS * SECTOR_SIZE;
    for (let at = offset; at < offset + bytes; at += limit) {
      const length = Math.min(limit, offset + bytes - at);
      const segment = new DataView(new ArrayBuffer(16));
      segment.setBigUint64(0, BigInt(at / SECTOR_SIZE), true);
      segment.setUint32(8, length / SECTOR_SIZE, true);
      const flags = type === VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
      segment.setUint32(12, flags, true);
      const data = new Uint8Array(segment.buffer);
      pieces.push(
        this.#submit(type, 0, data.length, signal, {
          fill: (slot) => this.#driver.put(slot, 0, data),
        }),
      );
    }
    await Promise.all(pieces);
  }

  async #writeSectors(offset: number, from: Uint8Array, signal?: AbortSignal): Promise<void> {
    const pieces: Promise<void>[] = [];
    for (let done = 0; done < from.length; done += MAX_REQUEST_BYTES) {
      const part = from.subarray(done, done + MAX_REQUEST_BYTES);
      pieces.push(
        this.#submit(VIRTIO_BLK_T_OUT, offset + done, part.length, signal, {
          fill: (slot) => this.#driver.put(slot, 0, part),
        }),
      );
    }
    await Promise.all(pieces);
  }

  /** Reads the sectors at the edges, puts the bytes between, writes: alone among the writes. */
  async #writeUnaligned(offset: number, from: Uint8Array, signal?: AbortSignal): Promise<void> {
    const start = offset - (offset % SECTOR_SIZE);
    const sectors = new Uint8Array(roundUp(offset + from.length) - start);
    await this.read(start, sectors.subarray(0, SECTOR_SIZE), signal);
    await this.read(
      start + sectors.length - SECTOR_SIZE,
      sectors.subarray(sectors.length - SECTOR_SIZE),
      signal,
    );
    sectors.set(from, offset - start);
    await this.#writeSectors(start, sectors, signal);
  }

  #submit(
    type: number,
    offset: number,
    bytes: number,
    signal: AbortSignal | undefined,
    data: Pick<Piece, 'fill' | 'drain'>,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const settle = (): void => signal?.removeEventListener('abort', abort);
      const piece: Piece = {
        type,
        offset,
        bytes,
        ...data,
        signal,
        resolve: () => (settle(), resolve()),
        reject: (error) => (settle(), reject(error)),
      };
      // An aborted request leaves the queue, or runs on in its slot with nobody waiting.
      const abort = (): void => {
        const at = this.#waiting.indexOf(piece);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal!.reason as Error);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(piece);
      this.#pump();
    });
  }

  /** Why nothing is answered any more, if so. */
  #lost(): Error | undefined {
    if (this.#device.failed !== undefined) return this.#device.failed;
    if (this.#closed) {
      return new BlockError('ENODEV', `the disk '${this.#node}' is closed`, { node: this.#node });
    }
    const reason = this.#device.channel.broken;
    if (reason === 0 && !this.#driver.broken) return undefined;
    const message = `the device of '${this.#node}' needs reset: ${VQ_ERRORS[reason] ?? 'bad ring'}`;
    return new BlockError('EIO', message, { node: this.#node });
  }

  /** Gives slots to those waiting, in order, and kicks once for all of this turn. */
  #pump(): void {
    const lost = this.#lost();
    if (lost !== undefined) return this.#failAll(lost);
    let submitted = false;
    while (this.#waiting.length > 0) {
      const piece = this.#waiting[0]!;
      const slot = this.#driver.reserve(piece.bytes);
      if (slot < 0) break;
      submitted = true;
      this.#waiting.shift();
      piece.fill?.(slot);
      this.#inSlot[slot] = piece;
      this.#driver.submit(slot, piece.type, piece.offset);
    }
    // Where there is no room, the next completion looks again.
    if (this.#kickScheduled || !submitted) return;
    this.#kickScheduled = true;
    queueMicrotask(() => {
      this.#kickScheduled = false;
      this.#driver.kick();
      this.#look();
    });
  }

  /** Takes what is complete, and arms the next call while anything is in flight. */
  #look(): void {
    const lost = this.#lost();
    if (lost !== undefined) return this.#failAll(lost);
    this.#reap();
    if (this.#driver.inFlight === 0) return;
    this.#device.armCall();
    if (this.#driver.enableCalls()) this.#reap();
  }

  /** Resolves when every request was answered, those that nobody waits for included, or none will be. */
  async #idle(): Promise<void> {
    if (this.#driver.inFlight === 0 || this.#lost() !== undefined) return;
    await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }
  #nowIdle(): void {
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** What is complete makes room for those waiting, even where nothing else is in flight. */
  #reap(): void {
    if (this.#driver.reap(this.#onDone) > 0 && this.#waiting.length > 0) this.#pump();
    if (this.#driver.inFlight === 0) this.#nowIdle();
  }

  #finish(slot: number, status: number): void {
    const piece = this.#inSlot[slot];
    this.#inSlot[slot] = undefined;
    if (piece === undefined) return;
    if (status === VIRTIO_BLK_S_OK) {
      if (piece.signal?.aborted !== true) piece.drain?.(slot);
      piece.resolve();
      return;
    }
    const ret = status === VIRTIO_BLK_S_UNSUPP ? -95 : -(this.#device.channel.lastErrno || 5);
    const what = NAMES.get(piece.type) ?? 'discard';
    const where = piece.bytes === 0 ? '' : ` of ${piece.bytes} bytes at ${piece.offset}`;
    const code = errorCode(ret);
    piece.reject(
      new BlockError(code, `${what}${where} on '${this.#node}' failed: ${code}`, {
        node: this.#node,
      }),
    );
  }

  #failAll(error: Error): void {
    const lost = [...this.#inSlot, ...this.#waiting.splice(0)];
    this.#inSlot.length = 0;
    for (const piece of lost) piece?.reject(error);
    this.#nowIdle();
  }
}

function roundUp(offset: number): number {
  return Math.ceil(offset / SECTOR_SIZE) * SECTOR_SIZE;
}
