// IndexedDB in memory, as far as the idb driver uses it: databases with one store, transactions that
// run one after another and complete by themselves, and their traps on switches - a quota, lost
// connections, errors by name, a power cut that takes what was not strict.

import type { IdbEnvironment } from '../block/protocols/idb-environment.ts';
import type { OpfsLocks } from '../block/protocols/opfs-environment.ts';
import { LocksDouble, domError } from './opfs-double.ts';

type Key = number | string;
type Listener = ((event: Event) => void) | null | undefined;

/** The commits of a database: what is there, and what a power cut leaves. */
class StoredDatabase {
  store: string | undefined;
  live: Map<Key, unknown> = new Map();
  strict: Map<Key, unknown> = new Map();
  readonly connections: Set<ConnectionDouble> = new Set();
  /** Transactions wait for the one before. */
  tail: Promise<void> = Promise.resolve();
}

export class IdbDouble implements IdbEnvironment {
  readonly databases: Map<string, StoredDatabase> = new Map();
  readonly lockManager: LocksDouble = new LocksDouble();
  /** Bytes of all records at most. */
  quota: number = Infinity;
  /** How the next calls fail: transactions that `throws` on creation, or `aborts` with that error. */
  readonly failures: { kind: 'throws' | 'aborts' | 'open' | 'has'; name: string }[] = [];
  /** What transactions did, in order: `readwrite strict put 0, put 1, delete 3-4`. */
  readonly transactions: string[] = [];
  openConnections = 0;

  factory(): Pick<IDBFactory, 'open' | 'deleteDatabase'> {
    return {
      open: (name) => this.#open(name) as unknown as IDBOpenDBRequest,
      deleteDatabase: (name) => this.#delete(name) as unknown as IDBOpenDBRequest,
    };
  }

  async has(database: string): Promise<boolean> {
    const failure = this.fail('has');
    if (failure !== undefined) throw failure;
    return this.databases.has(database);
  }

  range(first: number, last: number): IDBKeyRange {
    return { lower: first, upper: last } as IDBKeyRange;
  }

  locks(): OpfsLocks {
    return this.lockManager;
  }

  /** Loses all but what strict transactions, and those before them, stored. */
  powerCut(): void {
    for (const database of this.databases.values()) database.live = new Map(database.strict);
    this.loseConnections();
  }

  /** The browser closes all connections. */
  loseConnections(): void {
    for (const database of this.databases.values()) {
      for (const connection of [...database.connections]) {
        connection.close();
        connection.onclose?.(new Event('close'));
      }
    }
  }

  /** Another page wants to delete the databases. */
  versionChange(): void {
    for (const database of this.databases.values()) {
      for (const connection of [...database.connections]) {
        connection.onversionchange?.(new Event('versionchange'));
      }
    }
  }

  fail(kind: string): Error | undefined {
    const at = this.failures.findIndex((failure) => failure.kind === kind);
    return at === -1 ? undefined : domError(this.failures.splice(at, 1)[0]!.name);
  }

  #delete(name: string): object {
    const request = new RequestDouble();
    queueMicrotask(() => {
      const failure = this.fail('open');
      if (failure !== undefined) return request.reject(failure);
      for (const connection of [...(this.databases.get(name)?.connections ?? [])]) {
        connection.onversionchange?.(new Event('versionchange'));
      }
      this.databases.delete(name);
      request.resolve(undefined);
    });
    return request;
  }

  #open(name: string): object {
    const request = new RequestDouble();
    queueMicrotask(() => {
      const failure = this.fail('open');
      if (failure !== undefined) return request.reject(failure);
      const there = this.databases.get(name);
      const database = there ?? new StoredDatabase();
      const connection = new ConnectionDouble(this, database);
      request.result = connection;
      if (there === undefined) {
        let aborted = false;
        request.transaction = { abort: () => (aborted = true) };
        connection.upgrading = true;
        request.onupgradeneeded?.(new Event('upgradeneeded'));
        connection.upgrading = false;
        if (aborted) return request.reject(domError('AbortError'));
        this.databases.set(name, database);
        database.strict = new Map(database.live);
      }
      database.connections.add(connection);
      this.openConnections += 1;
      request.resolve(connection);
    });
    return request;
  }
}

class RequestDouble {
  result: unknown;
  error: Error | null = null;
  transaction: { abort: () => void } | undefined;
  onupgradeneeded: Listener;
  onsuccess: Listener;
  onerror: Listener;

  resolve(result: unknown): void {
    this.result = result;
    this.onsuccess?.(new Event('success'));
  }

  reject(error: Error): void {
    this.error = error;
    this.onerror?.(new Event('error'));
  }
}

class ConnectionDouble {
  onclose: Listener;
  onversionchange: Listener;
  upgrading = false;
  #open = true;
  readonly #owner: IdbDouble;
  readonly #database: StoredDatabase;

  constructor(owner: IdbDouble, database: StoredDatabase) {
    this.#owner = owner;
    this.#database = database;
  }

  get objectStoreNames(): { contains(name: string): boolean } {
    return { contains: (name) => this.#database.store === name };
  }

  /** In an upgrade only. What is put is stored with it. */
  createObjectStore(name: string): { put(value: unknown, key: Key): void } {
    if (!this.upgrading) throw domError('InvalidStateError');
    this.#database.store = name;
    return { put: (value, key) => void this.#database.live.set(key, structuredClone(value)) };
  }

  transaction(_name: string, mode: string, options?: { durability?: string }): TransactionDouble {
    if (!this.#open) throw domError('InvalidStateError');
    const failure = this.#owner.fail('throws');
    if (failure !== undefined) throw failure;
    const durability = options?.durability ?? 'default';
    return new TransactionDouble(this.#owner, this.#database, mode, durability);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#owner.openConnections -= 1;
    this.#database.connections.delete(this);
  }
}

class TransactionDouble {
  oncomplete: Listener;
  onabort: Listener;
  error: Error | null = null;
  #aborted = false;
  readonly #operations: { said: string; run: (map: Map<Key, unknown>) => void }[] = [];
  readonly #reads: RequestDouble[] = [];
  readonly #owner: IdbDouble;
  readonly #database: StoredDatabase;
  readonly #mode: string;
  readonly #durability: string;

  constructor(owner: IdbDouble, database: StoredDatabase, mode: string, durability: string) {
    this.#owner = owner;
    this.#database = database;
    this.#mode = mode;
    this.#durability = durability;
    database.tail = database.tail.then(() => this.#run());
  }

  objectStore(): object {
    const write = (said: string, run: (map: Map<Key, unknown>) => void): void => {
      if (this.#mode !== 'readwrite') throw domError('ReadOnlyError');
      this.#operations.push({ said, run });
    };
    const read = (said: string, get: (map: Map<Key, unknown>) => unknown): RequestDouble => {
      const request = new RequestDouble();
      this.#reads.push(request);
      this.#operations.push({ said, run: (map) => request.resolve(get(map)) });
      return request;
    };
    return {
      get: (key: Key) => read(`get ${key}`, (map) => structuredClone(map.get(key))),
      getAllKeys: (range: IDBKeyRange) =>
        read('keys', (map) => [...map.keys()].filter((key) => inside(key, range))),
      put: (value: unknown, key: Key) => {
        const clone = structuredClone(value);
        write(`put ${key}`, (map) => void map.set(key, clone));
      },
      delete: (range: IDBKeyRange) =>
        write(`delete ${String(range.lower)}-${String(range.upper)}`, (map) => {
          for (const key of [...map.keys()]) if (inside(key, range)) map.delete(key);
        }),
      clear: () => write('clear', (map) => map.clear()),
    };
  }

  abort(): void {
    this.#aborted = true;
  }

  async #run(): Promise<void> {
    // A turn of the host's loop, in which the next requests may be made.
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#owner.transactions.push(
      `${this.#mode} ${this.#durability} ${this.#operations.map(({ said }) => said).join(', ')}`,
    );
    this.error = this.#owner.fail('aborts') ?? null;
    const map = new Map(this.#database.live);
    if (this.error === null && !this.#aborted) for (const { run } of this.#operations) run(map);
    if (this.error === null && this.#mode === 'readwrite' && used(map) > this.#owner.quota) {
      this.error = domError('QuotaExceededError');
    }
    if (this.error !== null || this.#aborted) {
      for (const request of this.#reads) request.reject(this.error ?? domError('AbortError'));
      this.onabort?.(new Event('abort'));
      return;
    }
    if (this.#mode === 'readwrite') this.#database.live = map;
    if (this.#durability === 'strict') this.#database.strict = new Map(map);
    this.oncomplete?.(new Event('complete'));
  }
}

function inside(key: Key, { lower, upper }: IDBKeyRange): boolean {
  return typeof key === 'number' && key >= Number(lower) && key <= Number(upper);
}

function used(map: Map<Key, unknown>): number {
  let bytes = 0;
  for (const value of map.values()) if (value instanceof Uint8Array) bytes += value.length;
  return bytes;
}
