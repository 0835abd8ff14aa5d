// Where a worker looks for its drivers, by what the embedder said.

import { describe, expect, it } from 'vitest';
import { driverUrls } from './driver-urls.ts';
import type { WorkerSource } from './host.ts';

const own = { idb: new URL('https://app.example/assets/idb-Bx1.js') };
const idb = (source: WorkerSource): string | undefined =>
  driverUrls(own, source, 'https://app.example/page/index.html')['idb'];

describe('driverUrls', () => {
  it('are those beside the entry, whoever makes the worker', () => {
    expect(idb({})).toBe('https://app.example/assets/idb-Bx1.js');
    expect(idb({ createWorker: () => ({}) as Worker })).toBe(own.idb.href);
  });

  it('are those beside the worker that was named', () => {
    expect(idb({ workerUrl: '/js/worker.js?v=2' })).toBe('https://app.example/js/drivers/idb.js');
    const workerUrl = new URL('https://cdn.example/diskplane@1/dist/iothread-worker.js');
    expect(idb({ workerUrl })).toBe('https://cdn.example/diskplane@1/dist/drivers/idb.js');
  });

  it('are those beside the entry where nothing lies beside the worker', () => {
    expect(idb({ workerUrl: 'blob:https://app.example/7b2f' })).toBe(own.idb.href);
    expect(idb({ workerUrl: 'data:text/javascript,1' })).toBe(own.idb.href);
  });

  it('are those in the folder that was named', () => {
    const workerUrl = '/js/worker.js';
    const there = 'https://app.example/code/idb.js';
    expect(idb({ driversUrl: '/code/', workerUrl })).toBe(there);
    expect(idb({ driversUrl: new URL('https://app.example/code') })).toBe(there);
    expect(idb({ driversUrl: 'parts' })).toBe('https://app.example/page/parts/idb.js');
  });
});
