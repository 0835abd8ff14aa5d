// The control half of a node: what it is made of, resizing, drain and closing. All of it may wait;
// `BlockNode` adds the data path, and `node-upkeep.ts` has what few disks ever need.

import type { AioContext } from '../aio/aio-context.ts';
import { assert } from '../base/assert.ts';
import { EINVAL, EIO, ENOMEDIUM, ENOTSUP, EROFS, OK } from '../base/ret.ts';
import type { OptionTree } from '../base/options.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import type { BlockChild, ChildRole } from './block-child.ts';
import type {
  BlockDriver,
  BlockLimits,
  Carried,
  CheckResult,
  DriverState,
} from './block-driver.ts';
import { BlockError } from './block-error.ts';
import type { BlockStats } from './block-stats.ts';
import type { NodeLatency } from './latency-histogram.ts';
import { DEFAULT_SETTINGS, detectedZeroFlags } from './node-settings.ts';
import type { NodeSettings } from './node-settings.ts';
import type { Pace } from './pace.ts';
import { defaultPermissions, detachEdge } from './permissions.ts';
import type { Permissions } from './permissions.ts';
import type { BlockParent, Quiescence } from './quiescence.ts';
import { RequestBooks } from './request-books.ts';
import { roundDown } from './shaping.ts';

/** The largest `requestAlignment`, bytes: a partly covered block is read into a buffer of it. */
export const MAX_REQUEST_ALIGNMENT: number = 1024 * 1024;

/** What a node is made of. */
export interface BlockNodeParts {
  readonly name: string;
  /** `driver=` */
  readonly driver: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  readonly context: AioContext;
  readonly state: DriverState;
  readonly children: readonly BlockChild[];
  /** A driver that cannot write makes its node read-only as well. */
  readonly readOnly: boolean;
  /** What differs from DEFAULT_SETTINGS. */
  readonly settings?: Partial<NodeSettings>;
  /** The driver's, where it has one. */
  readonly childPermissions?: BlockDriver['childPermissions'] | undefined;
  /** The name that opens this image again, `json:` where there is no shorter one. */
  readonly filename?: string;
  /** The driver's own options, not parsed, and whether the format was guessed. */
  readonly options?: OptionTree;
  readonly guessed?: boolean;
}

/** What a reopen changes. */
export type Reopened = Pick<BlockNodeParts, 'state' | 'children' | 'readOnly'> & {
  readonly options: OptionTree;
};

export abstract class NodeControl implements BlockParent {
  readonly name: string;
  readonly driver: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  // These four, and what follows of them, change in `become` alone.
  children!: readonly BlockChild[];
  readOnly!: boolean;
  state!: DriverState;
  /** The driver's own options, from which it can be opened again. Plain data. */
  options!: OptionTree;
  readonly filename: string;
  /** The format was guessed to be raw. */
  readonly guessed: boolean;
  readonly stats: BlockStats;
  readonly quiescence: Quiescence;
  protected readonly context: AioContext;
  /** For upkeep and moves. */
  readonly books: RequestBooks;
  /**
   * Other threads have the image open as well: flushes are never skipped, and what must know of every write
   * is refused.
   */
  shared = false;
  protected alignMask = 0;
  protected maxTransfer = 0;
  protected writeFlags = 0;
  // Of `settings`, as requests need it: see `detectedZeroFlags`.
  protected detectZeroes = -1;
  protected discardEnabled = true;
  #settings: NodeSettings = DEFAULT_SETTINGS;
  // Copies of what the driver says, so that a request asks it one thing only. -1 after close.
  protected lengthNow = 0;
  readonly #childPermissions: BlockNodeParts['childPermissions'];
  #closing: Promise<void> | undefined;

  constructor(parts: BlockNodeParts) {
    this.name = parts.name;
    this.driver = parts.driver;
    this.kind = parts.kind;
    this.context = parts.context;
    this.filename = parts.filename ?? parts.name;
    this.#childPermissions = parts.childPermissions;
    this.guessed = parts.guessed ?? false;
    this.#settings = { ...DEFAULT_SETTINGS, ...parts.settings };
    this.books = new RequestBooks(this, parts.context);
    this.stats = this.books.stats;
    this.quiescence = this.books.quiescence;
    this.become({ options: {}, ...parts });
    for (const edge of this.children) edge.node.quiescence.attach(edge, this);
  }

  /**
   * Is another opening of its image from now on (see `reopen.ts`). The node is drained; the edges and the
   * state of before are the caller's.
   */
  become({ state, children, readOnly, options }: Reopened): void {
    const { requestAlignment, maxTransfer, supportedWriteFlags } = state.limits;
    assert(
      requestAlignment > 0 &&
        requestAlignment <= MAX_REQUEST_ALIGNMENT &&
        (requestAlignment & (requestAlignment - 1)) === 0,
      `${this.driver}: bad requestAlignment ${requestAlignment}`,
    );
    this.state = state;
    this.children = children;
    this.readOnly = readOnly || state.pwritev === undefined;
    this.options = options;
    this.alignMask = requestAlignment - 1;
    this.maxTransfer = Math.max(roundDown(maxTransfer, requestAlignment), requestAlignment);
    this.writeFlags = supportedWriteFlags;
    this.applySettings(this.#settings);
    if (this.quiescence.count > 0) state.drainBegin?.();
    this.#readLength();
  }

  /** What this node needs of a child for what its parents need of it together, if it may write or not. */
  childPermissions(role: ChildRole, parents: Permissions, writable: boolean): Permissions {
    return this.#childPermissions?.(role, parents) ?? defaultPermissions(role, parents, writable);
  }

  get settings(): NodeSettings {
    return this.#settings;
  }
  /** From the next request on. The driver is not told of `cacheDirect`: that is for whoever opens it. */
  applySettings(settings: NodeSettings): void {
    this.#settings = settings;
    this.discardEnabled = settings.discard === 'unmap';
    this.detectZeroes = detectedZeroFlags(settings);
    if (this.state.pwriteZeroes === undefined) this.detectZeroes = -1;
  }

  /** Bytes; a multiple of the request alignment. */
  get length(): number {
    return Math.max(this.lengthNow, 0);
  }
  get limits(): BlockLimits {
    return this.state.limits;
  }
  get label(): string {
    return `node '${this.name}'`;
  }
  /** Requests under way; while 0, nothing of this node's is outstanding. */
  get inFlight(): number {
    return this.quiescence.inFlight;
  }
  /** The last exception that the driver threw, where it should have answered. */
  get lastBug(): string | undefined {
    return this.books.lastBug;
  }
  get closed(): boolean {
    return this.lengthNow < 0;
  }
  /** Counts completed requests that may have changed something (write_gen). */
  get writeGeneration(): number {
    return this.books.writeGen;
  }
  /** How long requests took, while they are timed. */
  get latency(): NodeLatency | undefined {
    return this.books.latency;
  }
  /** Times every request from now on, or none. */
  setTiming(on: boolean): void {
    this.books.setTiming(on);
  }

  /** Makes durable, down to the protocols, what was written before. Flushes at a time share one. */
  flush(): MaybeRet {
    if (this.closed) return this.refuse(-ENOMEDIUM);
    if (this.readOnly) return OK;
    return this.books.flush();
  }

  /** As `flush`, and syncs storage whatever `cache.no-flush` says: this opening is about to end. */
  lastFlush(): MaybeRet {
    return this.closed || this.readOnly ? OK : this.books.flush(true);
  }

  /** Changes the length; new bytes read as zeroes. Runs alone on the node. */
  async truncate(length: number): Promise<Ret> {
    if (this.closed) return this.refuse(-ENOMEDIUM);
    if (this.readOnly) return this.refuse(-EROFS);
    if (!Number.isSafeInteger(length) || length < 0 || length % (this.alignMask + 1) !== 0) {
      return this.refuse(-EINVAL);
    }
    if (this.state.truncate === undefined) return -ENOTSUP;
    return this.books.run('truncate', 0, this.books.tracked.beginExclusive(), false, async () => {
      try {
        return await this.state.truncate!(length);
      } finally {
        this.childResized();
      }
    });
  }

  /**
   * Throws away what was written over the backing image, drained and durably (bdrv_make_empty). Throws
   * BlockError: ENOTSUP where there is none to go back to; `signal.reason` when aborted before it began.
   */
  async makeEmpty(signal?: AbortSignal): Promise<void> {
    const { makeEmpty } = await import('./node-upkeep.ts');
    await makeEmpty(this, this.books, signal);
  }

  /** Checks the metadata, drained (qemu-img check). Throws BlockError, or what `pace` throws. */
  async check(fix: 'none' | 'leaks' | 'all', pace?: Pace): Promise<CheckResult> {
    const { check } = await import('./node-upkeep.ts');
    return check(this, this.books, fix, pace);
  }

  /**
   * Which version of its contents the node has: opaque, at most 64 ASCII characters. The same version
   * means the same bytes; the first change afterwards makes it another one, on storage too and before
   * that change gets there. A driver that has nowhere to keep it gets one that lasts while the node is
   * open, on whatever thread. Drains and flushes. Throws BlockError.
   */
  async generation(): Promise<string> {
    const { generation } = await import('./node-upkeep.ts');
    return generation(this, this.books, this.context);
  }

  /**
   * Begins a drained section: parents stop, then everything in flight ends. Afterwards only the
   * owner of the section makes requests. Sections nest; each needs its `drainEnd`.
   */
  async drainBegin(): Promise<void> {
    this.quiescence.begin();
    await this.quiescence.settle();
  }
  drainEnd(): void {
    this.quiescence.end();
  }

  /** Runs `body` while no request is in flight and none comes from above. */
  async whileDrained<T>(body: () => Promise<T>): Promise<T> {
    this.quiescence.begin();
    try {
      await this.quiescence.settle();
      return await body();
    } finally {
      this.quiescence.end();
    }
  }

  /** Ends requests in flight here, and below where nobody else has some, with -ECANCELED. */
  cancelInFlight(): void {
    this.state.cancelInFlight?.();
    for (const { node } of this.children) {
      if (node.quiescence.parents.size <= 1) node.cancelInFlight();
    }
  }

  /**
   * Drains, flushes, closes the driver and lets go of the children (which stay open). Idempotent.
   * Throws BlockError, after all is closed, when the flush failed: what was written may be lost.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /**
   * Ends this node here so that another thread can open it again; answers what it needs for that.
   * The node is drained and flushed, its parents are gone already.
   */
  async detach(): Promise<Carried | undefined> {
    assert(this.inFlight === 0 && this.quiescence.count > 0, `${this.label} is not drained`);
    assert(this.quiescence.parents.size === 0, `${this.label} has parents`);
    const carried = this.state.carry?.();
    this.lengthNow = -1;
    this.#closing = this.state.close();
    await this.#closing;
    for (const edge of this.children) detachEdge(edge);
    return carried;
  }

  parentDrainedBegin(): void {
    this.quiescence.begin();
  }
  parentDrainedEnd(): void {
    this.quiescence.end();
  }
  idle(): Promise<void> | undefined {
    return this.quiescence.idle();
  }
  childResized(): void {
    const before = this.lengthNow;
    if (this.closed) return;
    this.#readLength();
    if (this.lengthNow === before) return;
    for (const parent of this.quiescence.parents.values()) parent.childResized();
  }

  async #close(): Promise<void> {
    await this.whileDrained(async () => {
      const flushed = await this.#lastFlush();
      this.lengthNow = -1;
      try {
        await this.state.close();
      } finally {
        for (const edge of this.children) detachEdge(edge);
      }
      if (flushed < 0) throw BlockError.fromRet(flushed, `flush of ${this.label}`, this.name);
    });
  }

  async #lastFlush(): Promise<Ret> {
    try {
      return await this.lastFlush();
    } catch {
      return -EIO;
    }
  }

  #readLength(): void {
    this.lengthNow = roundDown(this.state.length, this.alignMask + 1);
  }

  /** Accounts for a request that goes no further. */
  protected refuse(ret: Ret): Ret {
    this.stats.invalidOperations += 1;
    return this.closed ? -ENOMEDIUM : ret;
  }
}
