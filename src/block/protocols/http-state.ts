// An open http image. A read that the cache holds is answered at once, without allocating; any
// other waits for its chunks. A failed fetch is -EIO and never remembered; an image that changed on
// the server fails for good.

import type { AioContext } from '../../aio/aio-context.ts';
import { fnv1a64 } from '../../base/fnv.ts';
import { ECANCELED, EIO, OK } from '../../base/ret.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { IOVector } from '../../base/io-vector.ts';
import { ANY_RANGE } from '../block-driver.ts';
import type { BlockLimits, Carried, DriverState } from '../block-driver.ts';
import { CACHE_PAGE, HttpCache } from './http-cache.ts';
import { HttpFault } from './http-fault.ts';
import { MAX_HTTP_REQUEST } from './http-options.ts';
import type { HttpOptions } from './http-options.ts';
import type { HttpIdentity } from './http-answer.ts';
import type { HttpSource } from './http-range.ts';
import { HttpRead, copyChunk } from './http-read.ts';
import { ReadAhead } from './http-read-ahead.ts';
import { HTTP_TRIES, readRange } from './http-retry.ts';
import { HttpScheduler } from './http-scheduler.ts';

/** Reads larger than this are split by the node, so that one cannot fill the queue. Bytes. */
const MAX_TRANSFER = 16 * 1024 * 1024;

export interface HttpStateParts {
  readonly aioContext: AioContext;
  readonly nodeName: string;
  readonly options: HttpOptions;
  readonly source: HttpSource;
  /** What the probe found. */
  readonly identity: HttpIdentity;
  notice(message: string): void;
}

export class HttpState implements DriverState {
  readonly length: number;
  readonly limits: BlockLimits;
  readonly #parts: HttpStateParts;
  readonly #chunkSize: number;
  readonly #cache: HttpCache;
  readonly #readAhead: ReadAhead;
  readonly #scheduler: HttpScheduler;
  #closed = false;
  /** Why every request fails from now on. */
  #broken: string | undefined;
  #lastError: string | undefined;
  #failures = 0;

  constructor(parts: HttpStateParts) {
    const { options, aioContext } = parts;
    const { chunkSize } = options;
    this.#parts = parts;
    this.length = parts.identity.total;
    this.limits = { ...ANY_RANGE, maxTransfer: MAX_TRANSFER, optTransfer: chunkSize };
    this.#chunkSize = chunkSize;
    this.#cache = new HttpCache(chunkSize, Math.floor(options.cacheSize / chunkSize));
    this.#readAhead = new ReadAhead(options.readahead, chunkSize);
    this.#scheduler = new HttpScheduler({
      aioContext,
      cache: this.#cache,
      length: this.length,
      maxConnections: options.maxConnections,
      maxRun: Math.max(1, MAX_HTTP_REQUEST / chunkSize),
      patienceNs: HTTP_TRIES * parts.source.timeoutNs,
      fetch: (start, end, sink, signal) =>
        this.#fetch({ start, end, position: start, sink }, signal),
    });
  }

  /** Which image it is, so that it is the same one on the other thread. */
  carry(): Carried {
    return { data: this.#parts.identity };
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    if (this.#broken !== undefined || this.#closed) return -EIO;
    const size = qiov.size;
    if (size === 0) return OK;
    if (this.#readAhead.note(offset, size)) this.#prefetch();
    // One page, the commonest read, costs neither an object nor a view.
    if (size === CACHE_PAGE && offset % CACHE_PAGE === 0 && qiov.count === 1) {
      return this.#readPage(offset, qiov);
    }
    const last = Math.floor((offset + size - 1) / this.#chunkSize);
    for (let chunk = Math.floor(offset / this.#chunkSize); chunk <= last; chunk++) {
      const slot = this.#cache.find(chunk);
      if (slot === -1) return this.#readRest(offset, qiov, chunk, last);
      copyChunk(offset, qiov, chunk * this.#chunkSize, this.#cache.bytes(slot));
    }
    return OK;
  }

  /** A server that says neither may have another image of that size tomorrow. */
  async generation(): Promise<string | undefined> {
    const { etag, lastModified, total } = this.#parts.identity;
    const validator = etag ?? lastModified;
    return validator === undefined ? undefined : `http-${fnv1a64(`${validator} ${total}`)}`;
  }

  info(): Record<string, unknown> {
    const { identity, options } = this.#parts;
    return {
      url: options.url,
      pinnedBy: pinnedBy(identity),
      ...(identity.etag === undefined ? {} : { etag: identity.etag }),
      ...(identity.lastModified === undefined ? {} : { lastModified: identity.lastModified }),
      chunkSize: this.#chunkSize,
      cacheSize: this.#cache.capacity * this.#chunkSize,
      readahead: options.readahead,
      ...(this.#broken === undefined ? {} : { broken: this.#broken }),
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
    };
  }

  counters(): Record<string, number> {
    const { source } = this.#parts;
    return {
      requests: source.requests,
      bytesFetched: source.bytes,
      retries: source.retries,
      failures: this.#failures,
      inFlight: this.#scheduler.inFlight,
      inFlightPeak: this.#scheduler.inFlightPeak,
      cacheHits: this.#cache.hits,
      cacheMisses: this.#cache.misses,
      cacheEvictions: this.#cache.evictions,
      cacheMemory: this.#cache.memory,
    };
  }

  drainBegin(): void {
    this.#scheduler.stopReadAhead();
  }

  cancelInFlight(): void {
    this.#scheduler.cancel(-ECANCELED);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#scheduler.cancel(-ECANCELED);
  }

  #readPage(offset: number, qiov: IOVector): MaybeRet {
    const chunk = Math.floor(offset / this.#chunkSize);
    const slot = this.#cache.find(chunk);
    if (slot === -1) return this.#readRest(offset, qiov, chunk, chunk);
    qiov.segment(0).set(this.#cache.page(slot, (offset % this.#chunkSize) / CACHE_PAGE));
    return OK;
  }

  /** Waits for the chunks from `missing` on that are not there; those before are copied already. */
  #readRest(offset: number, qiov: IOVector, missing: number, last: number): Promise<Ret> {
    const read = new HttpRead(offset, qiov, this.#chunkSize, last - missing + 1);
    for (let chunk = missing; chunk <= last; chunk++) {
      const slot = chunk === missing ? -1 : this.#cache.find(chunk);
      if (slot === -1) this.#scheduler.demand(chunk, read);
      else read.arrived(chunk, this.#cache.bytes(slot));
    }
    return read.done;
  }

  #prefetch(): void {
    const end = Math.min(this.#readAhead.to, this.length);
    const first = Math.floor(this.#readAhead.from / this.#chunkSize);
    for (let chunk = first; chunk * this.#chunkSize < end; chunk++) this.#scheduler.prefetch(chunk);
  }

  async #fetch(range: Parameters<typeof readRange>[1], signal: AbortSignal): Promise<Ret> {
    try {
      await readRange(this.#parts.source, range, signal);
      return OK;
    } catch (error) {
      return this.#failed(error);
    }
  }

  #failed(error: unknown): Ret {
    if (error instanceof HttpFault && error.kind === 'canceled') return -ECANCELED;
    const message = error instanceof Error ? error.message : String(error);
    this.#failures += 1;
    this.#lastError = message;
    const changed = error instanceof HttpFault && error.kind === 'changed';
    if (changed && this.#broken === undefined) {
      this.#broken = message;
      this.#parts.notice(
        `${this.#parts.nodeName}: ${message} (${this.#parts.options.url}). What was read before ` +
          'and what is there now do not fit together, so all further reads fail; open it again',
      );
      // Whoever waits for other chunks of the old image waits in vain.
      this.#scheduler.cancel(-EIO);
    }
    return -EIO;
  }
}

/** How a change on the server would be noticed. */
export function pinnedBy(identity: HttpIdentity): 'etag' | 'last-modified' | 'size' {
  if (identity.etag !== undefined) return 'etag';
  return identity.lastModified === undefined ? 'size' : 'last-modified';
}
