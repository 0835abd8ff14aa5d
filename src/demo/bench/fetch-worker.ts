// The baseline of the http rows: range requests with `fetch`, so many at a time, each body taken whole,
// with nothing around them.

import { expose } from 'comlink';
import { BrowserHost } from '../../host/browser.ts';
import type { Sample } from './rounds.ts';
import { BlockOffsets } from './workload.ts';
import type { Workload } from './workload.ts';

const host = new BrowserHost();
let url = '';
let workload: Workload;
let offsets: BlockOffsets;

const control = {
  /** The image at `address`, `bytes` bytes long. */
  open(address: string, bytes: number, what: Workload): void {
    url = address;
    workload = what;
    offsets = new BlockOffsets(bytes, what);
  },

  async run(concurrency: number, ns: number): Promise<Sample> {
    const start = host.now();
    let requests = 0;
    let took = 0;
    const lane = async (): Promise<void> => {
      while (took === 0) {
        await fetchRange(offsets.next(), workload.bytes);
        // The first to end after the time was up is the last that counts, as in our guest.
        if (took > 0) return;
        requests += 1;
        if (host.now() - start >= ns) took = host.now() - start;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    return { requests, ns: took };
  },
};

export type FetchControl = typeof control;

expose(control);

async function fetchRange(at: number, bytes: number): Promise<void> {
  const response = await fetch(url, {
    headers: { Range: `bytes=${at}-${at + bytes - 1}` },
    cache: 'no-store',
  });
  const body = await response.arrayBuffer();
  if (response.status !== 206 || body.byteLength !== bytes) {
    throw new Error(`${url} answers ${response.status}, ${body.byteLength} bytes`);
  }
}
