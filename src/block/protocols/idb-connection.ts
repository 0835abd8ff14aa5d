// The connection to a disk's database. Browsers drop connections of pages in the background, so a lost
// one is opened again, once a transaction, and the transaction is done again: both reads and writes
// here may be repeated. The header tells whether what came back is the same disk.

import { promisifyRequest } from 'idb-keyval';
import type { UseStore } from 'idb-keyval';
import type { AioContext } from '../../aio/aio-context.ts';
import { BlockError } from '../block-error.ts';
import type { IdbEnvironment } from './idb-environment.ts';
import { HEADER_KEY, encodeHeader, parseHeader } from './idb-header.ts';
import type { IdbHeader } from './idb-header.ts';

export const STORE_NAME = 'diskplane';
/** How long one transaction, or opening, may take before the connection counts as lost, ns. */
const LIMIT_NS = 30_000_000_000;

export interface IdbConnectionParts {
  readonly environment: IdbEnvironment;
  readonly aioContext: AioContext;
  readonly nodeName: string;
  readonly database: string;
  notice(message: string): void;
}

export type Durability = 'strict' | 'relaxed';

export class IdbConnection {
  readonly #parts: IdbConnectionParts;
  #db: IDBDatabase | undefined;
  #connecting: Promise<IDBDatabase> | undefined;
  #closed = false;
  /** The disk that was opened first. */
  #id: string | undefined;
  #broken: BlockError | undefined;
  /** Connections made, less the first. */
  reopened = 0;
  transactions = 0;

  constructor(parts: IdbConnectionParts) {
    this.#parts = parts;
  }

  /** Why the disk is gone for good; undefined while it is not. */
  get broken(): BlockError | undefined {
    return this.#broken;
  }

  /**
   * Opens the database; with `fresh`, makes it with that header where it is missing. Answers the
   * stored header, unchecked. Throws BlockError: ENOENT, or what IndexedDB threw.
   */
  async open(fresh: IdbHeader | undefined): Promise<unknown> {
    const db = await this.#openInTime(fresh);
    this.#adopt(db);
    return this.run('readonly', 'relaxed', (store) => promisifyRequest(store.get(HEADER_KEY)));
  }

  /** From now on a connection is good only if it shows the disk `id`. */
  pin(id: string): void {
    this.#id = id;
  }

  /** idb-keyval's view of the store, for reading. */
  readonly reader: UseStore = (mode, work) =>
    this.run(mode, 'relaxed', (store) => Promise.resolve(work(store)));

  /**
   * Runs `work` in a transaction of its own, and once more in another connection when the first was
   * lost. A 'readwrite' one is complete when this settles. Throws what IndexedDB said, or BlockError
   * ESTALE when the disk is gone.
   */
  async run<T>(
    mode: IDBTransactionMode,
    durability: Durability,
    work: (store: IDBObjectStore) => Promise<T>,
  ): Promise<T> {
    for (let again = false; ; again = true) {
      if (this.#closed) throw new Error('the disk is closed');
      let db: IDBDatabase | undefined;
      try {
        db = this.#db ?? (await this.#connect());
        return await within(this.#parts, this.#transact(db, mode, durability, work));
      } catch (error) {
        const dropped = db !== undefined && db !== this.#db;
        if (this.#closed || error instanceof BlockError || !(dropped || isLost(error))) throw error;
        if (db !== undefined && db === this.#db) this.#drop(db);
        if (again) {
          this.#parts.notice(
            `${this.#parts.nodeName}: idb database '${this.#parts.database}' is out of reach ` +
              `(${String(error)}), also after opening it again; what needs it fails`,
          );
          throw error;
        }
      }
    }
  }

  /** Idempotent. Transactions under way complete. */
  close(): void {
    this.#closed = true;
    this.#db?.close();
    this.#db = undefined;
  }

  #transact<T>(
    db: IDBDatabase,
    mode: IDBTransactionMode,
    durability: Durability,
    work: (store: IDBObjectStore) => Promise<T>,
  ): Promise<T> {
    this.transactions += 1;
    const transaction = db.transaction(STORE_NAME, mode, { durability });
    if (mode === 'readonly') return work(transaction.objectStore(STORE_NAME));
    const complete = completion(transaction);
    const result = work(transaction.objectStore(STORE_NAME));
    // Nothing is stored in part.
    result.catch(() => {
      try {
        transaction.abort();
      } catch {
        // It is over already.
      }
    });
    return Promise.all([result, complete]).then(([value]) => value);
  }

  #connect(): Promise<IDBDatabase> {
    this.#connecting ??= this.#reconnect().finally(() => (this.#connecting = undefined));
    return this.#connecting;
  }

  async #reconnect(): Promise<IDBDatabase> {
    if (this.#broken !== undefined) throw this.#broken;
    const { database, nodeName } = this.#parts;
    try {
      const db = await this.#openInTime(undefined);
      const store = db.transaction(STORE_NAME, 'readonly').objectStore(STORE_NAME);
      const header = parseHeader(
        await within(this.#parts, promisifyRequest(store.get(HEADER_KEY) as IDBRequest<unknown>)),
        database,
        nodeName,
      );
      if (this.#id !== undefined && header.id !== this.#id) {
        db.close();
        throw new BlockError(
          'ESTALE',
          `${nodeName}: idb database '${database}' holds another disk`,
          { node: nodeName },
        );
      }
      this.#adopt(db);
      this.reopened += 1;
      return db;
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.#broken = error;
      this.#parts.notice(`${error.message}. It was in use; all further requests fail`);
      throw error;
    }
  }

  #adopt(db: IDBDatabase): void {
    this.#db = db;
    // The browser closed it; or another page wants to delete the database, and would wait for us.
    db.onclose = (): void => this.#drop(db);
    db.onversionchange = (): void => this.#drop(db);
    if (this.#closed) this.close();
  }

  #drop(db: IDBDatabase): void {
    if (this.#db === db) this.#db = undefined;
    db.close();
  }

  async #openInTime(fresh: IdbHeader | undefined): Promise<IDBDatabase> {
    const opening = this.#openDatabase(fresh);
    try {
      return await within(this.#parts, opening);
    } catch (error) {
      opening.then(
        (late) => late.close(),
        () => {},
      );
      throw error;
    }
  }

  #openDatabase(fresh: IdbHeader | undefined): Promise<IDBDatabase> {
    const { environment, database, nodeName: node } = this.#parts;
    return new Promise((resolve, reject) => {
      const request = environment.factory().open(database, 1);
      let missing = false;
      request.onupgradeneeded = (): void => {
        if (fresh === undefined) {
          missing = true;
          request.transaction!.abort();
        } else {
          request.result.createObjectStore(STORE_NAME).put(encodeHeader(fresh), HEADER_KEY);
        }
      };
      request.onerror = (event): void => {
        event.preventDefault();
        const message = `${node}: there is no idb database '${database}'; 'create' makes it`;
        if (missing) reject(new BlockError('ENOENT', message, { node }));
        else reject(openFailure(request.error, database, node));
      };
      request.onsuccess = (): void => {
        const db = request.result;
        if (db.objectStoreNames.contains(STORE_NAME)) return resolve(db);
        db.close();
        reject(foreign(database, node));
      };
    });
  }
}

/** Deletes the database, which no connection of ours has open. Throws BlockError. */
export async function removeDatabase(parts: IdbConnectionParts): Promise<void> {
  const { environment, database, nodeName: node } = parts;
  const removing = new Promise<void>((resolve, reject) => {
    const request = environment.factory().deleteDatabase(database);
    request.onsuccess = (): void => resolve();
    request.onerror = (): void => reject(request.error ?? new Error('the database stays'));
  });
  try {
    await within(parts, removing);
  } catch (cause) {
    throw new BlockError('EIO', `${node}: cannot remove idb database '${database}': ${String(cause)}`, { node, cause }); // prettier-ignore
  }
}

/** Ends the wait, not the work, after the time limit. */
function within<T>({ aioContext, database }: IdbConnectionParts, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = aioContext.newTimer(() => {
      const seconds = LIMIT_NS / 1e9;
      const why = `IndexedDB '${database}' did not answer within ${seconds} s`;
      reject(Object.assign(new Error(why), { name: 'TimeoutError' }));
    });
    timer.mod(aioContext.now() + LIMIT_NS);
    work.finally(() => timer.del()).then(resolve, reject);
  });
}

/** `tx.error` says what a request's error does not: that the quota is used up. */
function completion(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = (): void => resolve();
    transaction.onabort = (): void => {
      reject(transaction.error ?? Object.assign(new Error('aborted'), { name: 'AbortError' }));
    };
  });
}

/** Errors of a connection, not of what was asked. Safari says UnknownError. */
function isLost(error: unknown): boolean {
  const name = error instanceof Object && 'name' in error ? String(error.name) : '';
  if (name === 'UnknownError') return /connection|lost/i.test(String(error));
  return ['InvalidStateError', 'AbortError', 'TimeoutError'].includes(name);
}

function foreign(database: string, node: string): BlockError {
  const message = `${node}: idb database '${database}' is somebody else's: it holds no disk`;
  return new BlockError('EINVAL', message, { node });
}

function openFailure(error: DOMException | null, database: string, node: string): Error {
  if (error?.name === 'VersionError') return foreign(database, node);
  return error ?? new Error('the database did not open');
}
