// A web server with one image, for the real http driver: its `fetch` answers ranges late, in pieces, and
// at times not at all, with an error, cut short, or with the image of another day. That one has other
// contents, so that a byte of it would be noticed.

import type { Prng } from '../testing/prng.ts';
import type { SimContext } from '../testing/sim-context.ts';
import type { SimWorld } from '../testing/sim-world.ts';
import { fillSectors } from './sector-value.ts';

const LATENCY = { minNs: 1e6, maxNs: 40e6, slowPercent: 5, slowNs: 1e9 };
/** The value of sectors of the other image. */
const OTHER = 0xffff_fff0;

export class SimServer {
  /** Of a hundred requests so many go wrong. */
  faultPercent = 0;
  /** While not 0, none does. */
  calm = 0;
  /** Somebody opened the image: when it changes now, that is to be noticed. */
  pinned = false;
  /** Requests that went wrong. */
  faults = 0;
  /** Requests whose answers were not taken to their end or given up. */
  readonly open: Set<object> = new Set<object>();
  readonly #world: SimWorld;
  readonly #prng: Prng;
  readonly #image: Uint8Array;
  #changed = false;

  constructor(world: SimWorld, image: Uint8Array) {
    this.#world = world;
    this.#prng = world.prng;
    this.#image = image;
  }

  /** Nobody waits for anything any more, and the image is the first one again. */
  restart(): void {
    this.open.clear();
    this.unpin();
    this.faultPercent = this.calm = 0;
  }

  /** Nobody has the image open any more, and it is the first one again. */
  unpin(): void {
    this.#changed = this.pinned = false;
  }

  /** For `httpDriver`. */
  readonly fetch: typeof fetch = async (_url, init) => {
    const thread = this.#world.current!;
    const signal = init!.signal!;
    const request = {};
    this.open.add(request);
    signal.addEventListener('abort', () => this.open.delete(request), { once: true });
    const range = /bytes=(\d+)-(\d+)/.exec(new Headers(init!.headers).get('range')!)!;
    const first = Number(range[1]);
    const last = Math.min(Number(range[2]), this.#image.length - 1);
    const fault =
      this.calm === 0 && this.#prng.chance(this.faultPercent)
        ? this.#prng.pick(['status', 'refused', 'hang', 'short', 'stall', 'changed'] as const)
        : undefined;
    if (fault !== undefined) this.faults += 1;
    if (fault === 'changed' && this.pinned) this.#changed = true;
    await wait(thread, `http ${first}-${last}`, signal, fault === 'hang');
    if (fault === 'refused') throw new TypeError('fetch failed');
    const headers = new Headers({
      etag: this.#changed ? '"other"' : '"first"',
      'content-range': `bytes ${first}-${last}/${this.#image.length}`,
    });
    const bytes = this.#image.slice(first, last + 1);
    if (this.#changed) fillSectors(bytes.subarray(0, bytes.length & ~511), 0, OTHER);
    const body = this.#body(thread, bytes, signal, fault);
    const answer = { status: fault === 'status' ? 503 : 206, type: 'basic', headers, body };
    return answer as unknown as Response;
  };

  /** The part of a ReadableStream that is used: pieces, one after the other. */
  #body(
    thread: SimContext,
    bytes: Uint8Array,
    signal: AbortSignal,
    fault: string | undefined,
  ): unknown {
    const end = fault === 'short' ? this.#prng.below(bytes.length) : bytes.length;
    let at = 0;
    const read = async (): Promise<{ done: boolean; value?: Uint8Array }> => {
      const stalls = fault === 'stall' && at > 0;
      await wait(thread, 'http body', signal, stalls);
      if (at >= end) return { done: true };
      const value = bytes.slice(at, Math.min(end, at + 1 + this.#prng.below(8192)));
      at += value.length;
      return { done: false, value };
    };
    return { getReader: () => ({ read, cancel: async () => {}, releaseLock: () => {} }) };
  }
}

/** Resolves after a while, or never; rejects when `signal` aborts. */
function wait(
  thread: SimContext,
  label: string,
  signal: AbortSignal,
  never: boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    const passed = (): void => {
      signal.removeEventListener('abort', abort);
      resolve();
    };
    const cancel = never ? (): void => {} : thread.hostEvent(label, LATENCY, passed);
    const abort = (): void => {
      cancel();
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', abort, { once: true });
  });
}
