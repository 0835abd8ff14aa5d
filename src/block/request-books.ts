// The books of a node: which requests are under way, who waits for whom, how far flushes got, what
// was moved. A request out of the ordinary (padded, split, emulated, or one that takes time) is
// run from here; the node enters those that the driver answers at once itself.

import type { AioContext } from '../aio/aio-context.ts';
import { EIO, OK, sequence } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import type { BlockChild } from './block-child.ts';
import type { DriverState } from './block-driver.ts';
import { BlockStats } from './block-stats.ts';
import type { RequestKind } from './block-stats.ts';
import { FlushGroup } from './flush-group.ts';
import { NodeLatency } from './latency-histogram.ts';
import type { NodeSettings } from './node-settings.ts';
import { Quiescence } from './quiescence.ts';
import { TrackedRequests } from './tracked-requests.ts';
import type { TrackedRequest } from './tracked-requests.ts';

/** What the books need of their node. */
export interface BookedNode {
  readonly label: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  readonly state: DriverState;
  readonly children: readonly BlockChild[];
  /** Other threads write to the image as well, unseen. */
  readonly shared: boolean;
  readonly settings: NodeSettings;
}

export class RequestBooks {
  readonly stats: BlockStats = new BlockStats();
  readonly tracked: TrackedRequests = new TrackedRequests();
  readonly quiescence: Quiescence;
  /** Counts completed requests that may have changed something. */
  writeGen = 0;
  /** Tells this opening of the node from all others; empty until somebody asks. */
  openId = '';
  /** The last exception that the driver threw, where it should have answered. */
  lastBug: string | undefined;
  /** Set: every request is timed, and none goes the straight way. */
  latency: NodeLatency | undefined;
  /** What `writeGen` was at the last flush. */
  flushedGen = 0;
  readonly #flushes = new FlushGroup();
  readonly #node: BookedNode;
  readonly #context: AioContext;

  constructor(node: BookedNode, context: AioContext) {
    this.#node = node;
    this.#context = context;
    this.quiescence = new Quiescence(
      () => node.state.drainBegin?.(),
      () => node.state.drainEnd?.(),
    );
  }

  /**
   * Waits for `request`'s turn, does `body`, enters it in the books, and flushes where `fua`. Answers
   * at once where all of it does. Throws what `body` throws before its first promise.
   */
  run(
    kind: RequestKind,
    bytes: number,
    request: TrackedRequest,
    fua: boolean,
    body: () => MaybeRet,
  ): MaybeRet {
    if (this.tracked.mustWait(request)) {
      return this.later(kind, bytes, request, this.tracked.turn(request).then(body), fua);
    }
    const start = this.latency === undefined ? 0 : this.#context.now();
    let ret: MaybeRet;
    try {
      ret = body();
    } catch (error) {
      this.tracked.end(request);
      throw error;
    }
    if (typeof ret !== 'number') return this.later(kind, bytes, request, ret, fua);
    this.stats.answeredSync += 1;
    this.#time(kind, start);
    this.#over(kind, bytes, request, ret);
    return fua && ret >= 0 ? this.flush() : ret;
  }

  /** The rest of a request that takes time. Never rejects. */
  async later(
    kind: RequestKind,
    bytes: number,
    request: TrackedRequest,
    promise: Promise<Ret>,
    fua: boolean,
  ): Promise<Ret> {
    this.stats.promises += 1;
    this.stats.inFlight += 1;
    this.quiescence.enter();
    const start = this.latency === undefined ? 0 : this.#context.now();
    let ret: Ret;
    try {
      ret = await this.#context.track(promise);
    } catch (error) {
      ret = this.#bug(kind, error);
    }
    this.#time(kind, start);
    this.#over(kind, bytes, request, ret);
    if (fua && ret >= 0) ret = await this.#flushAfter();
    this.stats.inFlight -= 1;
    this.quiescence.leave();
    return ret;
  }

  /** Times every request from now on, anew, or none (block-latency-histogram-set). */
  setTiming(on: boolean): void {
    this.latency = on ? new NodeLatency() : undefined;
  }

  /**
   * Flushes this layer, then every child that it writes to. Flushes at a time share a run; `last` has one
   * of its own, which `cache.no-flush` does not keep from storage.
   */
  flush(last = false): MaybeRet {
    const body = last ? this.#flushLast : this.#joinFlush;
    return this.run('flush', 0, this.tracked.begin(0, 0, false), false, body);
  }

  async #flushAfter(): Promise<Ret> {
    try {
      return await this.flush();
    } catch (error) {
      return this.#bug('flush', error);
    }
  }

  #bug(kind: RequestKind, error: unknown): Ret {
    this.lastBug = `${this.#node.label}: ${kind}: ${String(error)}`;
    return -EIO;
  }

  /** `start` 0: nobody looked at the clock then. */
  #time(kind: RequestKind, start: number): void {
    if (this.latency === undefined || start === 0) return;
    if (kind === 'truncate' || kind === 'status') return;
    const { rd, wr, flush } = this.latency;
    const histogram = kind === 'rd' ? rd : kind === 'flush' ? flush : wr;
    histogram.add(this.#context.now() - start);
  }

  #over(kind: RequestKind, bytes: number, request: TrackedRequest, ret: Ret): void {
    if (kind !== 'rd' && kind !== 'flush' && kind !== 'status') this.writeGen += 1;
    this.tracked.end(request);
    this.stats.account(kind, bytes, ret >= 0);
  }

  readonly #joinFlush = (): MaybeRet => this.#flushes.join(this.#flushOnce);
  readonly #flushLast = (): MaybeRet => this.#flushDown(false);
  readonly #flushOnce = (): MaybeRet => this.#flushDown(this.#node.settings.cacheNoFlush);

  #flushDown(noFlush: boolean): MaybeRet {
    const { kind, state, children, shared } = this.#node;
    // Whatever ends here, the tables of a format still go to its file.
    if (kind === 'protocol' && noFlush) return OK;
    const generation = this.writeGen;
    // A format may hold metadata back whatever was written; a protocol only what went through here.
    const clean = kind === 'protocol' && this.flushedGen === generation && !shared;
    const ret = sequence(1 + children.length, (i) => {
      if (i === 0) return clean ? OK : (state.flush?.() ?? OK);
      const child = children[i - 1]!;
      return child.writable ? child.flush() : OK;
    });
    const done = (answer: Ret): Ret => {
      if (answer >= 0) this.flushedGen = Math.max(this.flushedGen, generation);
      return answer;
    };
    return typeof ret === 'number' ? done(ret) : ret.then(done);
  }
}
