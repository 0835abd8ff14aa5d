// Reads nothing, forgets writes: the yardstick for all that stands above it. QEMU's options: `size`,
// `latency-ns` for a device that takes its time, `read-zeroes` for one whose reads say something.

import type { AioContext } from '../../aio/aio-context.ts';
import type { IOVector } from '../../base/io-vector.ts';
import { OK } from '../../base/ret.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import { ANY_RANGE, REQ_FUA, REQ_MAY_UNMAP } from '../block-driver.ts';
import type { BlockDriver, BlockLimits, BlockStatus, DriverState } from '../block-driver.ts';
import { OptionReader } from '../option-reader.ts';

export interface NullOptions {
  /** Bytes; 1 GiB unless said otherwise. */
  readonly size: number;
  /** How long each request takes, nanoseconds; 0 answers at once. */
  readonly latencyNs: number;
  /** Reads fill the buffer with zeroes; else they leave it as it is. */
  readonly readZeroes: boolean;
}

const DEFAULT_SIZE = 2 ** 30;
const MAX_LATENCY_NS = 1e12;

class NullState implements DriverState {
  length: number;
  readonly limits: BlockLimits = {
    ...ANY_RANGE,
    supportedWriteFlags: REQ_FUA,
    supportedZeroFlags: REQ_FUA | REQ_MAY_UNMAP,
  };
  readonly #options: NullOptions;
  readonly #context: AioContext;
  /** What ends a request that waits out its latency. */
  readonly #waiting = new Set<() => void>();

  constructor(options: NullOptions, context: AioContext) {
    this.#options = options;
    this.#context = context;
    this.length = options.size;
  }

  preadv(_offset: number, qiov: IOVector): MaybeRet {
    if (this.#options.readZeroes) qiov.fill(0);
    return this.#options.latencyNs === 0 ? OK : this.#wait();
  }

  pwritev(): MaybeRet {
    return this.#options.latencyNs === 0 ? OK : this.#wait();
  }

  pwriteZeroes(): MaybeRet {
    return this.#options.latencyNs === 0 ? OK : this.#wait();
  }

  pdiscard(): MaybeRet {
    return this.#options.latencyNs === 0 ? OK : this.#wait();
  }

  flush(): MaybeRet {
    return this.#options.latencyNs === 0 ? OK : this.#wait();
  }

  blockStatus(_offset: number, bytes: number): BlockStatus {
    return { bytes, allocated: true, zero: this.#options.readZeroes };
  }

  /** Nothing is to be shared. */
  share(): unknown {
    return {};
  }

  async truncate(length: number): Promise<Ret> {
    this.length = length;
    return OK;
  }

  /** Lets requests that wait out their latency end now: there is nothing to lose. */
  cancelInFlight(): void {
    for (const finish of this.#waiting) finish();
  }

  async close(): Promise<void> {
    this.cancelInFlight();
  }

  #wait(): Promise<Ret> {
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.del();
        this.#waiting.delete(finish);
        resolve(OK);
      };
      const timer = this.#context.newTimer(finish);
      timer.mod(this.#context.now() + this.#options.latencyNs);
      this.#waiting.add(finish);
    });
  }
}

export const driver: BlockDriver<NullOptions> = {
  name: 'null-co',
  kind: 'protocol',
  parseOptions(raw) {
    const reader = new OptionReader('null-co', raw);
    const options: NullOptions = {
      size: reader.size('size') ?? DEFAULT_SIZE,
      latencyNs: latency(reader),
      readZeroes: reader.boolean('read-zeroes') ?? false,
    };
    reader.end();
    return options;
  },
  async open(context, options) {
    return new NullState(options, context.aioContext);
  },
};

function latency(reader: OptionReader): number {
  const value = reader.any('latency-ns') ?? 0;
  const ns = typeof value === 'string' && /^\d{1,13}$/.test(value) ? Number(value) : value;
  if (typeof ns === 'number' && ns >= 0 && ns <= MAX_LATENCY_NS) return ns;
  throw reader.bad('latency-ns', `nanoseconds from 0 to ${MAX_LATENCY_NS}`);
}
