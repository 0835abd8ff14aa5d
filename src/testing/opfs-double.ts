// A browser's private file system and lock manager in memory, as far as the opfs driver uses them,
// with their traps on switches: short transfers, a quota, handles held elsewhere, errors by name.

import type { SyncHandle, SyncTransfer } from '../block/protocols/file-sync-handle.ts';
import type {
  OpfsDirectory,
  OpfsEnvironment,
  OpfsFileHandle,
  OpfsLocks,
} from '../block/protocols/opfs-environment.ts';

interface DoubleFile {
  bytes: Uint8Array;
  /** Stands for the time of the last change. */
  changes: number;
  /** Open handles that exclude others, and those that only read. */
  writers: number;
  readers: number;
  /** Open handles in Chromium's mode 'readwrite-unsafe'. */
  sharers: number;
}

/** An exception as hosts throw it: told apart by its name. */
export function domError(name: string): Error {
  return Object.assign(new Error(`${name} (double)`), { name });
}

export class OpfsDouble implements OpfsEnvironment {
  /** By path. Directories exist where a file's path says so. */
  readonly files: Map<string, DoubleFile> = new Map();
  readonly lockManager: LocksDouble | undefined;
  /** Bytes moved by one call at most. */
  maxTransfer: number = Infinity;
  /** Bytes of all files at most; beyond it writes fail as in Chromium, or fall short as in Firefox. */
  quota: number = Infinity;
  quotaStyle: 'throws' | 'short' = 'throws';
  /** `createSyncAccessHandle` with `mode: 'read-only'`: several readers, ignored, or a TypeError. */
  modes: 'honoured' | 'ignored' | 'refused' = 'honoured';
  /**
   * `createSyncAccessHandle`: there, absent, or there and refusing, as in WebKitGTK, where a path that
   * was refused once counts as open from then on.
   */
  syncHandles: 'there' | 'missing' | 'refused' = 'there';
  /** What is said of a file that is open; WebKit says InvalidStateError. */
  busyError: 'NoModificationAllowedError' | 'InvalidStateError' = 'NoModificationAllowedError';
  readonly #refused = new Set<string>();
  /** Errors to throw from the next calls, by kind of call. */
  readonly failures: { call: string; name: string }[] = [];
  /** Calls made on handles, in order: `read 0 4096`. */
  readonly calls: string[] = [];
  /** Runs in every read: a test lets time pass here. */
  onRead: () => void = () => {};
  openHandles = 0;

  constructor(options: { locks?: boolean } = {}) {
    this.lockManager = options.locks === false ? undefined : new LocksDouble();
  }

  locks(): OpfsLocks | undefined {
    return this.lockManager;
  }

  async root(): Promise<OpfsDirectory> {
    this.fail('root');
    return this.#directory('');
  }

  fail(call: string): void {
    const at = this.failures.findIndex((failure) => failure.call === call);
    if (at !== -1) throw domError(this.failures.splice(at, 1)[0]!.name);
  }

  #directory(prefix: string): OpfsDirectory {
    return {
      getDirectoryHandle: async (name, { create }) => {
        const path = `${prefix}${name}/`;
        if (this.files.has(prefix + name)) throw domError('TypeMismatchError');
        const known = [...this.files.keys()].some((file) => file.startsWith(path));
        if (!known && !create) throw domError('NotFoundError');
        return this.#directory(path);
      },
      getFileHandle: async (name, { create }) => {
        const path = prefix + name;
        if ([...this.files.keys()].some((file) => file.startsWith(`${path}/`))) {
          throw domError('TypeMismatchError');
        }
        if (!this.files.has(path)) {
          if (!create) throw domError('NotFoundError');
          this.files.set(path, {
            bytes: new Uint8Array(0),
            changes: 0,
            writers: 0,
            readers: 0,
            sharers: 0,
          });
        }
        return this.#fileHandle(path, this.files.get(path)!);
      },
      removeEntry: async (name) => {
        const file = this.files.get(prefix + name);
        if (file === undefined) throw domError('NotFoundError');
        const open = file.writers + file.readers + file.sharers;
        if (open > 0) throw domError('NoModificationAllowedError');
        this.files.delete(prefix + name);
      },
    };
  }

  #fileHandle(path: string, file: DoubleFile): OpfsFileHandle {
    const getFile: OpfsFileHandle['getFile'] = async () => ({
      size: file.bytes.length,
      lastModified: file.changes,
    });
    if (this.syncHandles === 'missing') return { getFile };
    return {
      getFile,
      createSyncAccessHandle: async (options) => {
        this.fail('open');
        if (this.syncHandles === 'refused') {
          const again = this.#refused.has(path);
          this.#refused.add(path);
          throw domError(again ? 'InvalidStateError' : 'NotSupportedError');
        }
        const readOnly = options?.mode === 'read-only' && this.modes === 'honoured';
        const unsafe = options?.mode === 'readwrite-unsafe' && this.modes === 'honoured';
        if (options?.mode === 'readwrite-unsafe' && this.modes === 'refused')
          throw new TypeError('mode');
        if (unsafe && file.writers === 0 && file.readers === 0) {
          file.sharers += 1;
          return new HandleDouble(this, file, 'readwrite-unsafe');
        }
        if (file.sharers > 0) throw domError(this.busyError);
        if (options?.mode === 'read-only' && this.modes === 'refused') throw new TypeError('mode');
        if (file.writers > 0 || (!readOnly && file.readers > 0)) throw domError(this.busyError);
        if (readOnly) file.readers += 1;
        else file.writers += 1;
        const mode = readOnly ? 'read-only' : 'readwrite';
        return new HandleDouble(this, file, mode);
      },
    };
  }

  /** Bytes in all files. */
  get used(): number {
    return [...this.files.values()].reduce((sum, file) => sum + file.bytes.length, 0);
  }
}

class HandleDouble implements SyncHandle {
  readonly #owner: OpfsDouble;
  readonly #file: DoubleFile;
  readonly mode: 'readwrite' | 'read-only' | 'readwrite-unsafe';
  #open = true;

  constructor(owner: OpfsDouble, file: DoubleFile, mode: HandleDouble['mode']) {
    this.#owner = owner;
    this.#file = file;
    this.mode = mode;
    owner.openHandles += 1;
  }

  read(buffer: Uint8Array, { at }: SyncTransfer): number {
    this.#call('read', at, buffer.length);
    this.#owner.onRead();
    const end = Math.min(at + Math.min(buffer.length, this.#owner.maxTransfer), this.getSize());
    if (end <= at) return 0;
    buffer.set(this.#file.bytes.subarray(at, end));
    return end - at;
  }

  write(buffer: Uint8Array, { at }: SyncTransfer): number {
    this.#call('write', at, buffer.length);
    if (this.mode === 'read-only') throw domError('NoModificationAllowedError');
    let bytes = Math.min(buffer.length, this.#owner.maxTransfer);
    const room = this.getSize() + this.#owner.quota - this.#owner.used;
    if (at + bytes > room) {
      if (this.#owner.quotaStyle === 'throws') throw domError('QuotaExceededError');
      bytes = Math.max(0, room - at);
    }
    this.#grow(at + bytes);
    this.#file.bytes.set(buffer.subarray(0, bytes), at);
    this.#file.changes += 1;
    return bytes;
  }

  truncate(size: number): void {
    this.#call('truncate', size, 0);
    const { quota, used } = this.#owner;
    if (used - this.getSize() + size > quota) {
      const throws = this.#owner.quotaStyle === 'throws';
      throw domError(throws ? 'QuotaExceededError' : 'NS_ERROR_FILE_NO_DEVICE_SPACE');
    }
    this.#file.bytes = this.#file.bytes.slice(0, size);
    this.#file.changes += 1;
    this.#grow(size);
  }

  getSize(): number {
    return this.#file.bytes.length;
  }

  flush(): void {
    this.#call('flush', 0, 0);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#owner.openHandles -= 1;
    if (this.mode === 'read-only') this.#file.readers -= 1;
    else if (this.mode === 'readwrite-unsafe') this.#file.sharers -= 1;
    else this.#file.writers -= 1;
  }

  #call(kind: string, at: number, bytes: number): void {
    if (!this.#open) throw domError('InvalidStateError');
    this.#owner.calls.push(`${kind} ${at} ${bytes}`);
    this.#owner.fail(kind);
  }

  #grow(size: number): void {
    if (size <= this.#file.bytes.length) return;
    const grown = new Uint8Array(size);
    grown.set(this.#file.bytes);
    this.#file.bytes = grown;
  }
}

interface Waiter {
  readonly shared: boolean;
  readonly start: () => void;
}

/** Web Locks: fair queues by name. */
export class LocksDouble implements OpfsLocks {
  readonly #held = new Map<string, { shared: boolean; count: number }>();
  readonly #waiting = new Map<string, Waiter[]>();

  /** Names held now. */
  get held(): string[] {
    return [...this.#held.keys()];
  }

  async request(
    name: string,
    options: { mode: 'exclusive' | 'shared'; signal: AbortSignal } | { steal: true },
    granted: () => Promise<void>,
  ): Promise<unknown> {
    if ('steal' in options) return this.#steal(name, granted);
    const shared = options.mode === 'shared';
    if (options.signal.aborted) throw domError('AbortError');
    await new Promise<void>((resolve, reject) => {
      const waiter = { shared, start: resolve };
      const queue = this.#waiting.get(name) ?? [];
      this.#waiting.set(name, queue);
      queue.push(waiter);
      options.signal.addEventListener('abort', () => {
        const at = queue.indexOf(waiter);
        if (at === -1) return;
        queue.splice(at, 1);
        reject(domError('AbortError'));
      });
      this.#serve(name);
    });
    await this.#hold(name, granted);
    return undefined;
  }

  /** Whoever had it hears that by a rejection, in browsers. */
  async #steal(name: string, granted: () => Promise<void>): Promise<void> {
    await Promise.resolve();
    this.#held.set(name, { shared: false, count: 1 });
    await this.#hold(name, granted);
  }

  async #hold(name: string, granted: () => Promise<void>): Promise<void> {
    const held = this.#held.get(name)!;
    try {
      await granted();
    } finally {
      held.count -= 1;
      if (held.count === 0 && this.#held.get(name) === held) this.#held.delete(name);
      this.#serve(name);
    }
  }

  #serve(name: string): void {
    const queue = this.#waiting.get(name) ?? [];
    for (;;) {
      const next = queue[0];
      const held = this.#held.get(name);
      if (next === undefined || (held !== undefined && !(held.shared && next.shared))) return;
      queue.shift();
      if (held === undefined) this.#held.set(name, { shared: next.shared, count: 1 });
      else held.count += 1;
      next.start();
    }
  }
}
