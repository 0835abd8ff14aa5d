// The simulated storage driver: files that answer at once or after a while, in any order, now and
// then late, and that fail where the seed says. A failed write may have been done in part. The thread
// that opened a file holds it alone, so a move that does not let go of it is found out.

import type { IOVector } from '../base/io-vector.ts';
import { EIO, ENOSPC, OK } from '../base/ret.ts';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { ANY_RANGE } from '../block/block-driver.ts';
import type { BlockDriver, BlockLimits, DriverState } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import { OptionReader } from '../block/option-reader.ts';
import type { Prng } from '../testing/prng.ts';
import type { SimContext } from '../testing/sim-context.ts';
import { SimFile } from './sim-file.ts';
import type { Landing } from './sim-file.ts';

interface SimStorageOptions {
  readonly disk: string;
}

/** How long storage takes; slow: a stall. */
const ANSWER = { minNs: 20_000, maxNs: 400_000, slowPercent: 3, slowNs: 3e9 };
/** So long where it has much to do. */
const BUSY = { ...ANSWER, slowPercent: 30, slowNs: 3e6 };

/** All files of one world, and how they behave at present. */
export class SimStorage {
  readonly prng: Prng;
  readonly files: Map<string, SimFile> = new Map<string, SimFile>();
  /** Of a hundred answers so many come at once. */
  syncPercent = 50;
  /** Of a thousand requests so many fail. */
  faultPermille = 0;
  /** While not 0, none fails. */
  calm = 0;
  /** While not 0, many an answer is late. */
  busy = 0;
  /** So many opens from now one fails; 0 for none. */
  failOpenIn = 0;
  /** So many requests from now `onCut` is called; 0 for never. */
  cutIn = 0;
  onCut: () => void = () => {};
  /** Requests that failed, ever. */
  faults = 0;

  constructor(prng: Prng) {
    this.prng = prng;
  }

  /** Nobody wants anything to fail any more. */
  restart(): void {
    this.faultPermille = this.failOpenIn = this.calm = this.busy = this.cutIn = 0;
  }

  add(file: SimFile): SimFile {
    this.files.set(file.name, file);
    return file;
  }

  /** The driver `sim-storage`, with option `disk`, a file's name. */
  readonly driver: BlockDriver<SimStorageOptions> = {
    name: 'sim-storage',
    kind: 'protocol',
    parseOptions: (raw) => {
      const reader = new OptionReader('sim-storage', raw);
      const disk = reader.string('disk');
      if (disk === undefined) throw reader.bad('disk', 'given');
      reader.end();
      return { disk };
    },
    open: async (context, { disk }) => {
      const { readOnly } = context.flags;
      const thread = context.aioContext as SimContext;
      const file = this.files.get(disk);
      if (file === undefined) throw new BlockError('ENOENT', `no file '${disk}'`);
      if (this.prng.chance(50)) await thread.track(thread.completion(`open ${disk}`, ANSWER));
      if (this.#failsOpen()) {
        throw new BlockError('EIO', `the open of '${disk}' failed, as it should`);
      }
      if (file.locked) throw new BlockError('EBUSY', `file '${disk}' is open elsewhere`);
      return new SimStorageState(this, file, thread, !readOnly);
    },
    create: async (_context, _size, raw) => {
      const name = String(raw['disk']);
      const there = this.files.get(name);
      if (there === undefined) this.add(new SimFile(name, new Uint8Array(0)));
      else if (there.length > 0) throw new BlockError('EEXIST', `file '${name}' is there`);
    },
    remove: async (_context, raw) => {
      const name = String(raw['disk']);
      const file = this.files.get(name);
      if (file === undefined) throw new BlockError('ENOENT', `no file '${name}'`);
      if (file.handles > 0) throw new BlockError('EBUSY', `file '${name}' is open`);
      this.files.delete(name);
    },
  };

  /** Of a request that is made now. */
  get latency(): typeof ANSWER {
    return this.busy > 0 ? BUSY : ANSWER;
  }

  /** Whether the present request is one that fails. */
  fails(): boolean {
    if (this.faultPermille === 0 || this.prng.below(1000) >= this.faultPermille) return false;
    if (this.calm > 0) return false;
    this.faults += 1;
    return true;
  }

  #failsOpen(): boolean {
    if (this.failOpenIn === 0 || --this.failOpenIn > 0) return this.fails();
    this.faults += 1;
    return true;
  }
}

/** One open file. */
export class SimStorageState implements DriverState {
  readonly file: SimFile;
  readonly limits: BlockLimits;
  readonly #storage: SimStorage;
  readonly #thread: SimContext;
  readonly #life: number;
  readonly #writable: boolean;
  #closed = false;

  constructor(storage: SimStorage, file: SimFile, thread: SimContext, writable: boolean) {
    this.file = file;
    this.limits = { ...ANY_RANGE, requestAlignment: file.requestAlignment };
    this.#storage = storage;
    this.#thread = thread;
    this.#life = file.life;
    this.#writable = writable;
    file.handles += 1;
    if (writable) file.locked = true;
  }

  get length(): number {
    return this.file.length;
  }

  preadv(offset: number, qiov: IOVector): MaybeRet {
    return this.#request(`read ${offset}+${qiov.size}`, (fails) => {
      if (fails) return -EIO;
      const bytes = new Uint8Array(qiov.size);
      this.file.read(offset, bytes);
      qiov.copyFrom(bytes, 0, 0, bytes.length);
      return OK;
    });
  }

  pwritev(offset: number, qiov: IOVector): MaybeRet {
    if (this.#dead) return -EIO;
    const bytes = new Uint8Array(qiov.size);
    qiov.copyTo(bytes, 0);
    const landing: Landing = { offset, bytes };
    this.file.landing.add(landing);
    return this.#request(`write ${offset}+${bytes.length}`, (fails) => {
      this.file.landing.delete(landing);
      if (!fails) {
        this.file.write(landing);
        return OK;
      }
      const { prng } = this.#storage;
      const part = prng.pick([0, 50, 100]);
      this.file.writePart(landing, () => prng.chance(part));
      return prng.chance(50) ? -EIO : -ENOSPC;
    });
  }

  flush(): MaybeRet {
    const { mark } = this.file;
    return this.#request('flush', (fails) => {
      if (fails) return -EIO;
      this.file.persist(mark);
      return OK;
    });
  }

  truncate(length: number): Promise<Ret> {
    const ret = this.#request(`truncate ${length}`, (fails) => {
      if (fails) return -ENOSPC;
      this.file.truncate(length);
      return OK;
    });
    return Promise.resolve(ret);
  }

  async close(): Promise<void> {
    if (this.#closed || this.file.life !== this.#life) return;
    this.#closed = true;
    if (this.#storage.prng.chance(30)) {
      await this.#thread.track(this.#thread.completion(`close ${this.file.name}`, ANSWER));
    }
    if (this.file.life !== this.#life) return;
    this.file.handles -= 1;
    if (this.#writable) this.file.locked = false;
  }

  /** Closed, or left over from before a power cut. */
  get #dead(): boolean {
    return this.#closed || this.file.life !== this.#life;
  }

  /** Has `effect` happen now, or with the answer, and the answer now or later. */
  #request(label: string, effect: (fails: boolean) => Ret): MaybeRet {
    const { prng, syncPercent } = this.#storage;
    const { file } = this;
    if (this.#dead) return -EIO;
    file.requests += 1;
    if (this.#storage.cutIn > 0 && --this.#storage.cutIn === 0) this.#storage.onCut();
    const fails = this.#storage.fails();
    if (prng.chance(syncPercent)) return effect(fails);
    file.inFlight += 1;
    const early = prng.chance(50) ? effect(fails) : undefined;
    return this.#thread.completion(`${file.name}: ${label}`, this.#storage.latency).then(() => {
      if (file.life !== this.#life) return -EIO;
      file.inFlight -= 1;
      return early ?? effect(fails);
    });
  }
}
