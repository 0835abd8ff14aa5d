// A driver over an array of bytes whose every answer the test decides: at once, a microtask later,
// or when the test says so; and the n-th operation of a kind can fail. It counts and logs all calls.

import { assert } from '../base/assert.ts';
import type { IOVector } from '../base/io-vector.ts';
import { OK } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { ANY_RANGE } from '../block/block-driver.ts';
import type { BlockLimits, BlockStatus, DriverState } from '../block/block-driver.ts';

export type OperationKind =
  'preadv' | 'pwritev' | 'pwriteZeroes' | 'pdiscard' | 'flush' | 'truncate' | 'blockStatus';

/** How calls are answered: with a number, a promise settled soon, or one settled by the test. */
export type AnswerMode = 'sync' | 'microtask' | 'held';

/** One call as it came in. */
export interface LoggedCall {
  readonly kind: OperationKind;
  readonly offset: number;
  readonly bytes: number;
  readonly flags: number;
}

/** A call that waits for the test (mode `held`). */
export interface HeldCall extends LoggedCall {
  /** Does the work and answers; or answers `ret`, a negated errno, without doing it. */
  release(ret?: Ret): void;
}

export interface ControllableOptions {
  readonly limits?: Partial<BlockLimits>;
  /** Methods that the driver does not have. */
  readonly lacks?: readonly OperationKind[];
  readonly mode?: AnswerMode;
}

/** Bytes take effect when the answer is given, so that races are seen at their worst. */
export class ControllableState implements DriverState {
  readonly limits: BlockLimits;
  mode: AnswerMode;
  /** The medium. Replaced by `truncate`. */
  bytes: Uint8Array;
  /** What a power cut now would leave: the medium at the last flush. */
  durable: Uint8Array;
  readonly log: LoggedCall[] = [];
  /** Oldest first. */
  readonly held: HeldCall[] = [];
  readonly counts: Record<OperationKind, number> = {
    preadv: 0, pwritev: 0, pwriteZeroes: 0, pdiscard: 0, flush: 0, truncate: 0, blockStatus: 0,
  }; // prettier-ignore
  drainBegins = 0;
  drainEnds = 0;
  closes = 0;
  readonly #failures: { kind: OperationKind; at: number; ret: Ret; throws: boolean }[] = [];

  pwritev?: NonNullable<DriverState['pwritev']>;
  pwriteZeroes?: NonNullable<DriverState['pwriteZeroes']>;
  pdiscard?: NonNullable<DriverState['pdiscard']>;
  flush?: NonNullable<DriverState['flush']>;
  truncate?: NonNullable<DriverState['truncate']>;
  blockStatus?: NonNullable<DriverState['blockStatus']>;

  /** `medium`: a size in bytes, or the bytes themselves (kept, not copied). */
  constructor(medium: number | Uint8Array, options: ControllableOptions = {}) {
    this.bytes = typeof medium === 'number' ? new Uint8Array(medium) : medium;
    this.durable = this.bytes.slice();
    this.limits = { ...ANY_RANGE, ...options.limits };
    this.mode = options.mode ?? 'sync';
    const has = (kind: OperationKind): boolean => options.lacks?.includes(kind) !== true;
    if (has('pwritev')) this.pwritev = (offset, qiov, flags) => this.#write(offset, qiov, flags);
    if (has('pwriteZeroes')) {
      this.pwriteZeroes = (offset, bytes, flags) =>
        this.#answer('pwriteZeroes', offset, bytes, flags, () => this.#zero(offset, bytes));
    }
    if (has('pdiscard')) {
      this.pdiscard = (offset, bytes) =>
        this.#answer('pdiscard', offset, bytes, 0, () => this.#zero(offset, bytes));
    }
    if (has('flush')) this.flush = () => this.#answer('flush', 0, 0, 0, () => this.#persist());
    if (has('truncate')) {
      this.truncate = async (length) =>
        this.#answer('truncate', length, 0, 0, () => this.#resize(length));
    }
    if (has('blockStatus')) this.blockStatus = (offset, bytes) => this.#status(offset, bytes);
  }

  get length(): number {
    return this.bytes.length;
  }

  /** The `n`-th call of `kind` from now on (1 is the next) answers `ret` and does nothing. */
  failAt(kind: OperationKind, n: number, ret: Ret): void {
    this.#failures.push({ kind, at: this.counts[kind] + n, ret, throws: false });
  }

  /** The next call of `kind` throws, as a driver with a bug does. */
  throwNext(kind: OperationKind): void {
    this.#failures.push({ kind, at: this.counts[kind] + 1, ret: OK, throws: true });
  }

  /** Lets all held calls go, in the order they came, and those that follow from them. */
  async releaseAll(): Promise<void> {
    for (let idle = 0; idle < 20; idle++) {
      while (this.held.length > 0) {
        idle = 0;
        this.held[0]!.release();
      }
      await Promise.resolve();
    }
  }

  preadv(offset: number, qiov: IOVector, flags: number): MaybeRet {
    return this.#answer('preadv', offset, qiov.size, flags, () => {
      qiov.copyFrom(this.bytes, offset, 0, qiov.size);
    });
  }

  drainBegin(): void {
    this.drainBegins += 1;
  }
  drainEnd(): void {
    this.drainEnds += 1;
  }
  async close(): Promise<void> {
    this.closes += 1;
  }

  #write(offset: number, qiov: IOVector, flags: number): MaybeRet {
    return this.#answer('pwritev', offset, qiov.size, flags, () => {
      if (!qiov.region.revoked) qiov.copyTo(this.bytes, offset);
    });
  }

  #answer(
    kind: OperationKind,
    offset: number,
    bytes: number,
    flags: number,
    work: () => void,
  ): MaybeRet {
    // prettier-ignore
    assert(this.closes === 0, `${kind} after close`);
    this.counts[kind] += 1;
    const call: LoggedCall = { kind, offset, bytes, flags };
    this.log.push(call);
    const failure = this.#failures.find((f) => f.kind === kind && f.at === this.counts[kind]);
    if (failure?.throws === true) throw new Error(`${kind} has a bug`);
    const perform = (): Ret => {
      if (failure !== undefined) return failure.ret;
      work();
      return OK;
    };
    if (this.mode === 'sync') return perform();
    if (this.mode === 'microtask') return Promise.resolve().then(perform);
    return new Promise<Ret>((resolve) => {
      const held: HeldCall = {
        ...call,
        release: (ret) => {
          this.held.splice(this.held.indexOf(held), 1);
          resolve(ret ?? perform());
        },
      };
      this.held.push(held);
    });
  }

  #zero(offset: number, bytes: number): void {
    this.bytes.fill(0, offset, offset + bytes);
  }

  #persist(): void {
    this.durable = this.bytes.slice();
  }

  #resize(length: number): void {
    const resized = new Uint8Array(length);
    resized.set(this.bytes.subarray(0, Math.min(length, this.bytes.length)));
    this.bytes = resized;
  }

  #status(offset: number, bytes: number): BlockStatus | Ret | Promise<BlockStatus | Ret> {
    const zeroAt = (i: number): boolean => this.bytes[i] === 0;
    let end = offset + 1;
    while (end < offset + bytes && zeroAt(end) === zeroAt(offset)) end += 1;
    const status: BlockStatus = { bytes: end - offset, allocated: true, zero: zeroAt(offset) };
    const ret = this.#answer('blockStatus', offset, bytes, 0, () => undefined);
    const pick = (answer: Ret): BlockStatus | Ret => (answer < 0 ? answer : status);
    return typeof ret === 'number' ? pick(ret) : ret.then(pick);
  }
}
