// The plug that a device or a façade holds into the graph (QEMU's BlockBackend). It decides what a
// write cache means, keeps requests in order while the graph below is drained, counts, and turns a
// driver's exception into an I/O error, so that no bug below ends the loop above.

import type { AioContext } from '../aio/aio-context.ts';
import type { IOVector } from '../base/io-vector.ts';
import { EIO, ENOMEDIUM, EROFS } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { BlockChild } from './block-child.ts';
import { REQ_FUA } from './block-driver.ts';
import type { BlockNode } from './block-node.ts';
import { BlockStats } from './block-stats.ts';
import type { RequestKind } from './block-stats.ts';
import { LatencyHistogram } from './latency-histogram.ts';
import { PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE } from './permissions.ts';
import { detachEdge, setPermissions } from './permissions.ts';
import type { Permissions } from './permissions.ts';
import type { BlockParent } from './quiescence.ts';
import { Quiescence } from './quiescence.ts';

/** A backend's user on its way to another thread. */
export interface TakenAway {
  /** Structured-cloneable. */
  readonly user: unknown;
  /** Parts of it that are handed over rather than copied. */
  readonly transfer: readonly Transferable[];
}

/** Whoever makes requests through a backend, as far as a move to another thread concerns it. */
export interface BackendUser {
  /** Makes no new requests; resolves when the last one is answered. */
  pause(): Promise<void>;
  /** Goes on: the move was given up. */
  resume(): void;
  /** What it is made of, for whoever makes it again. */
  readonly wiring?: unknown;
  /** Ends here; answers what the other thread makes it of. */
  takeAway(): TakenAway;
}

export interface BlockBackendOptions {
  readonly name: string;
  readonly context: AioContext;
  /** The medium; null for none, then requests answer -ENOMEDIUM. */
  readonly root: BlockNode | null;
  /** Default: as the root. */
  readonly readOnly?: boolean;
  /** Off: every write is durable before it completes. Default on. */
  readonly enableWriteCache?: boolean;
  /** What it needs of the medium and lets others do. Default: all that writing or reading takes, and all. */
  readonly permissions?: Permissions | undefined;
}

export class BlockBackend implements BlockParent {
  readonly name: string;
  readonly readOnly: boolean;
  readonly stats: BlockStats = new BlockStats();
  readonly latency: Readonly<Record<'rd' | 'wr' | 'flush', LatencyHistogram>> = {
    rd: new LatencyHistogram(),
    wr: new LatencyHistogram(),
    flush: new LatencyHistogram(),
  };
  /** Off: every write is durable before it completes (CONFIG_WCE, `cache=writethrough`). */
  enableWriteCache: boolean;
  /** The message of the last exception from below, where there was one. */
  lastBug: string | undefined;
  /** Set by a user that can move; without one the graph stays in its thread. */
  user: BackendUser | undefined;
  readonly #context: AioContext;
  readonly #permissions: Permissions;
  readonly #quiescence: Quiescence;
  readonly #resizeListeners = new Set<() => void>();
  #edge: BlockChild | null = null;
  #root: BlockNode | null = null;
  #gated = 0;
  // Requests that came while drained, in order.
  #waiting: (() => void)[] = [];

  constructor(options: BlockBackendOptions) {
    this.name = options.name;
    this.#context = options.context;
    this.enableWriteCache = options.enableWriteCache ?? true;
    this.#quiescence = new Quiescence(
      () => (this.#gated += 1),
      () => this.#open(),
    );
    this.readOnly = options.readOnly ?? options.root?.readOnly ?? true;
    const writes = this.readOnly ? 0 : PERM_WRITE | PERM_RESIZE;
    const perm = PERM_CONSISTENT_READ | writes;
    this.#permissions = options.permissions ?? { perm, shared: PERM_ALL };
    if (options.root !== null) this.insert(options.root);
  }

  get label(): string {
    return `backend '${this.name}'`;
  }
  get root(): BlockNode | null {
    return this.#root;
  }
  /** Bytes; 0 without a medium. */
  get length(): number {
    return this.#root?.length ?? 0;
  }
  /** Requests under way; those that wait for the end of a drained section do not count. */
  get inFlight(): number {
    return this.#quiescence.inFlight;
  }
  /** Resolves when nothing is under way and nothing waits for the end of a drained section. */
  async whenIdle(): Promise<void> {
    for (;;) {
      const idle = this.#gated > 0 ? this.#gate() : this.#quiescence.idle();
      if (idle === undefined) return;
      await idle;
    }
  }

  /** Puts a medium in where there is none. Throws BlockError('EBUSY') where others do not share it so. */
  insert(root: BlockNode): void {
    this.remove();
    this.#root = root;
    this.#edge = new BlockChild('root', root, !this.readOnly && !root.readOnly);
    root.quiescence.attach(this.#edge, this);
    try {
      setPermissions(this.#edge, this.#permissions);
    } catch (error) {
      this.remove();
      throw error;
    }
    this.childResized();
  }

  /** Takes the medium out and answers it. What waits for the end of a drained section has none any more. */
  remove(): BlockNode | null {
    const root = this.#root;
    const edge = this.#edge;
    this.#root = null;
    this.#edge = null;
    // It may end that section for this backend, which lets go of what waits: not into a drained node.
    if (edge !== null) detachEdge(edge);
    return root;
  }

  preadv(offset: number, qiov: IOVector, flags = 0): MaybeRet {
    if (this.#gated !== 0 || this.#root === null) {
      return this.#wait(() => this.preadv(offset, qiov, flags));
    }
    try {
      const ret = this.#root.preadv(offset, qiov, flags);
      if (typeof ret !== 'number') return this.#later('rd', qiov.size, ret);
      const { stats } = this;
      stats.answeredSync += 1;
      stats.rdOperations += 1;
      if (ret < 0) stats.failedRdOperations += 1;
      else stats.rdBytes += qiov.size;
      return ret;
    } catch (error) {
      return this.#bug('rd', error);
    }
  }

  pwritev(offset: number, qiov: IOVector, flags = 0): MaybeRet {
    if (this.#gated !== 0 || this.#root === null) {
      return this.#wait(() => this.pwritev(offset, qiov, flags));
    }
    if (this.readOnly) return -EROFS;
    try {
      const ret = this.#root.pwritev(offset, qiov, this.enableWriteCache ? flags : flags | REQ_FUA);
      if (typeof ret !== 'number') return this.#later('wr', qiov.size, ret);
      const { stats } = this;
      stats.answeredSync += 1;
      stats.wrOperations += 1;
      if (ret < 0) stats.failedWrOperations += 1;
      else stats.wrBytes += qiov.size;
      return ret;
    } catch (error) {
      return this.#bug('wr', error);
    }
  }

  pwriteZeroes(offset: number, bytes: number, flags = 0): MaybeRet {
    const all = this.enableWriteCache ? flags : flags | REQ_FUA;
    return this.#submit('zero', bytes, (root) => root.pwriteZeroes(offset, bytes, all));
  }

  pdiscard(offset: number, bytes: number): MaybeRet {
    return this.#submit('unmap', bytes, (root) => root.pdiscard(offset, bytes));
  }

  /** Makes durable what was written before this call. */
  flush(): MaybeRet {
    return this.#submit('flush', 0, (root) => root.flush());
  }

  /**
   * Runs `look`, for tools, on the medium; not counted. It may ask one node after the other: no drained
   * section begins in between. Answers -ENOMEDIUM without a medium, -EIO for an exception.
   */
  async whileThere<T>(look: (root: BlockNode) => Promise<T>): Promise<T | Ret> {
    if (this.#gated > 0) await this.#gate();
    if (this.#root === null) return -ENOMEDIUM;
    this.#quiescence.enter();
    try {
      return await look(this.#root);
    } catch (error) {
      return this.reportBug(error);
    } finally {
      this.#quiescence.leave();
    }
  }

  /** Resizes the medium; listeners hear of it. */
  async truncate(length: number): Promise<Ret> {
    await this.#gate();
    if (this.#root === null) return -ENOMEDIUM;
    return this.readOnly ? -EROFS : this.#root.truncate(length);
  }

  /** Resolves when nothing of this backend's is in flight. Requests made meanwhile wait. */
  drain(): Promise<void> {
    return this.whileDrained(async () => {});
  }

  /**
   * Runs `body` while nothing is in flight on the root and what is above it. Requests made meanwhile
   * wait and then go on in their order.
   */
  async whileDrained<T>(body: () => Promise<T>): Promise<T> {
    this.#quiescence.begin();
    try {
      await this.#quiescence.settle();
      return await (this.#root === null ? body() : this.#root.whileDrained(body));
    } finally {
      this.#quiescence.end();
    }
  }

  /** Waits for what is in flight and unplugs; later requests answer -ENOMEDIUM. */
  async close(): Promise<void> {
    await this.drain();
    this.remove();
  }

  /** Makes requests in flight end soon, with -ECANCELED, where drivers can. */
  cancelInFlight(): void {
    this.#root?.cancelInFlight();
  }

  /** Calls back whenever the length is another. */
  onResize(listener: () => void): void {
    this.#resizeListeners.add(listener);
  }
  offResize(listener: () => void): void {
    this.#resizeListeners.delete(listener);
  }

  /** Notes an exception that a driver or a device let out; answers -EIO. */
  reportBug(error: unknown): Ret {
    this.lastBug = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return -EIO;
  }

  parentDrainedBegin(): void {
    this.#quiescence.begin();
  }
  parentDrainedEnd(): void {
    this.#quiescence.end();
  }
  idle(): Promise<void> | undefined {
    return this.#quiescence.idle();
  }
  childResized(): void {
    for (const listener of this.#resizeListeners) listener();
  }

  #submit(kind: RequestKind, bytes: number, request: (root: BlockNode) => MaybeRet): MaybeRet {
    if (this.#gated !== 0 || this.#root === null) {
      return this.#wait(() => this.#submit(kind, bytes, request));
    }
    if (this.readOnly && kind !== 'flush') return -EROFS;
    try {
      const ret = request(this.#root);
      if (typeof ret !== 'number') return this.#later(kind, bytes, ret);
      this.stats.answeredSync += 1;
      this.stats.account(kind, bytes, ret >= 0);
      return ret;
    } catch (error) {
      return this.#bug(kind, error);
    }
  }

  async #later(kind: RequestKind, bytes: number, promise: Promise<Ret>): Promise<Ret> {
    const start = this.#context.now();
    this.stats.promises += 1;
    this.stats.inFlight += 1;
    this.#quiescence.enter();
    let ret: Ret;
    try {
      ret = await promise;
    } catch (error) {
      ret = this.reportBug(error);
    }
    const took = this.#context.now() - start;
    const direction = kind === 'rd' ? 'rd' : kind === 'flush' ? 'flush' : 'wr';
    this.latency[direction].add(took);
    this.stats.account(kind, bytes, ret >= 0);
    this.stats.inFlight -= 1;
    this.#quiescence.leave();
    return ret;
  }

  #bug(kind: RequestKind, error: unknown): Ret {
    this.stats.account(kind, 0, false);
    return this.reportBug(error);
  }

  /** A request that cannot go down now. */
  #wait(request: () => MaybeRet): MaybeRet {
    if (this.#gated === 0) return -ENOMEDIUM;
    return new Promise<Ret>((resolve) => {
      this.#waiting.push(() => {
        const ret = request();
        if (typeof ret === 'number') return resolve(ret);
        // Under way until its caller knows: a drained section must not begin in between.
        this.#quiescence.enter();
        void ret.then((done) => {
          resolve(done);
          this.#quiescence.leave();
        });
      });
    });
  }

  #gate(): Promise<void> {
    if (this.#gated === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The last drained section ended: lets go, in order, what waited. */
  #open(): void {
    this.#gated -= 1;
    for (const resume of this.#waiting.splice(0)) resume();
  }
}
