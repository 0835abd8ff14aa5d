// Decides which request goes out next. Wanted chunks wait in two queues, what a guest waits for
// before what is read ahead; neighbours of one queue become one request. A chunk that is wanted
// twice is fetched once, and at most so many requests are under way.

import type { AioContext, BottomHalf } from '../../aio/aio-context.ts';
import { OK } from '../../base/ret.ts';
import type { Ret } from '../../base/ret.ts';
import type { HttpCache } from './http-cache.ts';
import type { HttpRead } from './http-read.ts';

/** A chunk on its way, and who waits for it. */
interface Wanted {
  readonly chunk: number;
  readonly readers: HttpRead[];
  /** Being filled; -1 while it is queued. */
  slot: number;
  /** When it was first wanted, nanoseconds. */
  readonly since: number;
}

/** One request: chunks `first … first + wanted.length - 1`. */
interface Run {
  readonly first: number;
  readonly wanted: readonly Wanted[];
  readonly abort: AbortController;
}

export interface HttpSchedulerParts {
  readonly aioContext: AioContext;
  readonly cache: HttpCache;
  /** Of the image, bytes. */
  readonly length: number;
  readonly maxConnections: number;
  /** Of one request, in chunks. */
  readonly maxRun: number;
  /** A chunk queued for longer fails with the next request that does, nanoseconds. */
  readonly patienceNs: number;
  /** Fills `[start, end)` through `sink`, verified when it answers 0. Never rejects. */
  fetch(
    start: number,
    end: number,
    sink: (offset: number, bytes: Uint8Array) => void,
    signal: AbortSignal,
  ): Promise<Ret>;
}

export class HttpScheduler {
  /** Requests under way, and the most there ever were. */
  inFlight = 0;
  inFlightPeak = 0;
  readonly #parts: HttpSchedulerParts;
  readonly #cache: HttpCache;
  readonly #dispatcher: BottomHalf;
  readonly #demand = new Map<number, Wanted>();
  readonly #readAhead = new Map<number, Wanted>();
  readonly #coming = new Map<number, Wanted>();
  readonly #runs = new Set<Run>();

  constructor(parts: HttpSchedulerParts) {
    this.#parts = parts;
    this.#cache = parts.cache;
    // Not at once: requests of the same turn are neighbours more often than not.
    this.#dispatcher = parts.aioContext.newBottomHalf(() => this.#dispatch());
  }

  /** Chunk `chunk`, which is not in the cache, for a read that waits. */
  demand(chunk: number, reader: HttpRead): void {
    let wanted = this.#coming.get(chunk) ?? this.#demand.get(chunk);
    if (wanted === undefined) {
      wanted = this.#readAhead.get(chunk) ?? this.#want(chunk);
      this.#readAhead.delete(chunk);
      this.#demand.set(chunk, wanted);
      this.#dispatcher.schedule();
    }
    wanted.readers.push(reader);
  }

  /** Chunk `chunk`, for later; nothing when it is there or on its way. */
  prefetch(chunk: number): void {
    if (this.#cache.has(chunk) || this.#coming.has(chunk) || this.#demand.has(chunk)) return;
    if (this.#readAhead.has(chunk)) return;
    this.#readAhead.set(chunk, this.#want(chunk));
    this.#dispatcher.schedule();
  }

  /** Forgets what was to be read ahead and is not under way. */
  stopReadAhead(): void {
    this.#readAhead.clear();
  }

  /** Aborts all requests; whoever waits gets `ret`, now. */
  cancel(ret: Ret): void {
    this.#readAhead.clear();
    this.#dispatcher.cancel();
    const given = [...this.#coming.values(), ...this.#demand.values()];
    this.#coming.clear();
    this.#demand.clear();
    for (const run of this.#runs) run.abort.abort();
    this.#runs.clear();
    for (const wanted of given) {
      if (wanted.slot !== -1) this.#cache.giveBack(wanted.slot);
      for (const reader of wanted.readers) reader.failed(ret);
    }
  }

  #want(chunk: number): Wanted {
    return { chunk, readers: [], slot: -1, since: this.#parts.aioContext.now() };
  }

  #dispatch(): void {
    const { maxConnections } = this.#parts;
    while (this.inFlight < maxConnections) {
      const urgent = this.#demand.size > 0;
      // One connection stays free for what a guest may want next.
      if (!urgent && this.inFlight >= Math.max(1, maxConnections - 1)) return;
      const run = this.#takeRun(urgent ? this.#demand : this.#readAhead);
      if (run === undefined) return;
      const fetched = this.#run(run);
      // No request of a node stands for a read-ahead, so the loop has to be told of it here.
      if (urgent) void fetched;
      else void this.#parts.aioContext.track(fetched);
    }
  }

  /** The chunk queued longest and its queued neighbours, with slots; undefined when there is none. */
  #takeRun(queue: Map<number, Wanted>): Run | undefined {
    const oldest = queue.keys().next();
    if (oldest.done === true) return undefined;
    const { maxRun } = this.#parts;
    let first = oldest.value;
    while (queue.has(first - 1) && oldest.value - first + 1 < maxRun) first -= 1;
    const taken: Wanted[] = [];
    for (let chunk = first; taken.length < maxRun; chunk++) {
      const wanted = queue.get(chunk);
      if (wanted === undefined) break;
      // Without a slot the run ends here; the end of another request will call again.
      const slot = this.#cache.take();
      if (slot === -1) break;
      wanted.slot = slot;
      queue.delete(chunk);
      this.#coming.set(chunk, wanted);
      taken.push(wanted);
    }
    if (taken.length === 0) return undefined;
    return { first, wanted: taken, abort: new AbortController() };
  }

  async #run(run: Run): Promise<void> {
    const { chunkSize } = this.#cache;
    const start = run.first * chunkSize;
    const end = Math.min(start + run.wanted.length * chunkSize, this.#parts.length);
    this.#runs.add(run);
    this.inFlight += 1;
    this.inFlightPeak = Math.max(this.inFlightPeak, this.inFlight);
    const sink = (offset: number, bytes: Uint8Array): void => {
      if (this.#runs.has(run)) this.#scatter(run, offset - start, bytes);
    };
    const ret = await this.#parts.fetch(start, end, sink, run.abort.signal);
    this.inFlight -= 1;
    // A canceled run has given its slots back already.
    if (this.#runs.delete(run)) {
      this.#settle(run, ret);
      if (ret < 0) this.#expire(ret);
    }
    this.#dispatcher.schedule();
  }

  /** Copies a piece of a body, `at` bytes into the run, to the slots it belongs to. */
  #scatter(run: Run, at: number, bytes: Uint8Array): void {
    const { chunkSize } = this.#cache;
    for (let done = 0; done < bytes.length;) {
      const to = (at + done) % chunkSize;
      const take = Math.min(chunkSize - to, bytes.length - done);
      const wanted = run.wanted[Math.floor((at + done) / chunkSize)]!;
      this.#cache.bytes(wanted.slot).set(bytes.subarray(done, done + take), to);
      done += take;
    }
  }

  #settle(run: Run, ret: Ret): void {
    for (const wanted of run.wanted) {
      this.#coming.delete(wanted.chunk);
      if (ret === OK) this.#cache.publish(wanted.slot, wanted.chunk);
      else this.#cache.giveBack(wanted.slot);
    }
    for (const wanted of run.wanted) {
      for (const reader of wanted.readers) {
        if (ret === OK) reader.arrived(wanted.chunk, this.#cache.bytes(wanted.slot));
        else reader.failed(ret);
      }
    }
  }

  /** With a server that is down, the last of a long queue must not wait for all the others. */
  #expire(ret: Ret): void {
    const oldest = this.#parts.aioContext.now() - this.#parts.patienceNs;
    for (const [chunk, wanted] of this.#demand) {
      if (wanted.since > oldest) continue;
      this.#demand.delete(chunk);
      for (const reader of wanted.readers) reader.failed(ret);
    }
  }
}
