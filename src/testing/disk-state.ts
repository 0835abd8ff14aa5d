// A disk behind its façade as a driver: what every writable node must do (conformance.ts) can be asked
// of all that lies between a page and its IOThread as well.

import type { IOVector } from '../base/io-vector.ts';
import { EIO, OK, errnoOf } from '../base/ret.ts';
import type { Ret } from '../base/ret.ts';
import { ANY_RANGE } from '../block/block-driver.ts';
import type { BlockLimits, DriverState } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import type { Disk } from '../disk.ts';

const SECTOR = 512;

async function ret(done: Promise<void>): Promise<Ret> {
  return done.then(
    () => OK,
    (error: unknown) => (error instanceof BlockError ? -errnoOf(error.code) : -EIO),
  );
}

export class DiskState implements DriverState {
  readonly limits: BlockLimits = {
    ...ANY_RANGE,
    pwriteZeroesAlignment: SECTOR,
    pdiscardAlignment: SECTOR,
  };
  readonly #disk: Disk;

  /** Closing it closes `disk`. */
  constructor(disk: Disk) {
    this.#disk = disk;
  }

  get length(): number {
    return this.#disk.length;
  }

  async preadv(offset: number, qiov: IOVector): Promise<Ret> {
    const bytes = new Uint8Array(qiov.size);
    const read = await ret(this.#disk.read(offset, bytes));
    if (read === OK) qiov.copyFrom(bytes);
    return read;
  }

  pwritev(offset: number, qiov: IOVector): Promise<Ret> {
    const bytes = new Uint8Array(qiov.size);
    qiov.copyTo(bytes);
    return ret(this.#disk.write(offset, bytes));
  }

  pwriteZeroes(offset: number, bytes: number): Promise<Ret> {
    return ret(this.#disk.writeZeroes(offset, bytes));
  }

  pdiscard(offset: number, bytes: number): Promise<Ret> {
    return ret(this.#disk.discard(offset, bytes));
  }

  flush(): Promise<Ret> {
    return ret(this.#disk.flush());
  }

  truncate(length: number): Promise<Ret> {
    return ret(this.#disk.resize(length));
  }

  close(): Promise<void> {
    return this.#disk.close();
  }
}
