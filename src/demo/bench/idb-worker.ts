// The baseline of the idb rows: transactions of so many gets, or puts, of whole records, one transaction
// after the other, with nothing around them. Strict where a flush is due, relaxed elsewhere.

import { expose } from 'comlink';
import { promisifyRequest } from 'idb-keyval';
import { BrowserHost } from '../../host/browser.ts';
import type { Sample } from './rounds.ts';
import { BlockOffsets } from './workload.ts';
import type { Workload } from './workload.ts';

/** Bytes of a record: what the driver's have by default. */
export const RECORD_BYTES: number = 32 * 1024;
/** Records of one transaction at most, as the driver does it. */
const BATCH = 64;
const STORE = 'records';

const host = new BrowserHost();
let db: IDBDatabase;
let records = 0;
let workload: Workload;
let offsets: BlockOffsets;

const control = {
  /** Makes a database of so many bytes, in records none of which is zero. */
  async fill(database: string, bytes: number): Promise<void> {
    const request = indexedDB.open(database, 1);
    request.onupgradeneeded = (): void => void request.result.createObjectStore(STORE);
    db = await promisifyRequest(request);
    records = bytes / RECORD_BYTES;
    for (let first = 0; first < records; first += BATCH) {
      const keys = Array.from({ length: Math.min(BATCH, records - first) }, (_, i) => first + i);
      await put(keys, 'relaxed');
    }
  },

  /** What `run` does with it. */
  open(what: Workload): void {
    workload = what;
    offsets = new BlockOffsets(records * RECORD_BYTES, what);
  },

  /** Requests `batch` at a time, in one transaction each. */
  run(batch: number, ns: number): Promise<Sample> {
    return workload.op === 'read' ? readFor(batch, ns) : writeFor(batch, ns);
  },

  close(): void {
    db.close();
  },
};

export type IdbControl = typeof control;

expose(control);

async function readFor(batch: number, ns: number): Promise<Sample> {
  const start = host.now();
  let requests = 0;
  let now = start;
  while (now < start + ns) {
    const store = db.transaction(STORE, 'readonly').objectStore(STORE);
    const gets = keys(batch).map((key) => promisifyRequest(store.get(key)));
    for (const value of await Promise.all(gets)) {
      if ((value as Uint8Array).length !== RECORD_BYTES) throw new Error('not a record');
    }
    requests += batch;
    now = host.now();
  }
  return { requests, ns: now - start };
}

async function writeFor(batch: number, ns: number): Promise<Sample> {
  const { flushEvery = batch } = workload;
  const start = host.now();
  let requests = 0;
  while (host.now() < start + ns || requests % flushEvery !== 0) {
    const flushes = (requests + batch) % flushEvery === 0;
    await put(keys(batch), flushes ? 'strict' : 'relaxed');
    requests += batch;
  }
  return { requests, ns: host.now() - start };
}

function keys(count: number): number[] {
  return Array.from({ length: count }, () => Math.floor(offsets.next() / RECORD_BYTES));
}

function put(keys: readonly number[], durability: 'strict' | 'relaxed'): Promise<void> {
  const transaction = db.transaction(STORE, 'readwrite', { durability });
  const store = transaction.objectStore(STORE);
  for (const key of keys) store.put(new Uint8Array(RECORD_BYTES).fill(key | 1), key);
  return new Promise((resolve, reject) => {
    transaction.oncomplete = (): void => resolve();
    transaction.onabort = (): void => reject(transaction.error ?? new Error('aborted'));
  });
}
