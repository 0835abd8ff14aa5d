// The baseline of the OPFS rows: one kind of request through a sync access handle, from or into shared
// memory, in a tight loop with nothing around it. Also fills the files.

import { expose } from 'comlink';
import type { SyncHandle } from '../../block/protocols/file-sync-handle.ts';
import { browserOpfs } from '../../block/protocols/opfs-environment.ts';
import { BrowserHost } from '../../host/browser.ts';
import { fill } from './fill.ts';
import type { Sample } from './rounds.ts';
import { BlockOffsets } from './workload.ts';
import type { Workload } from './workload.ts';

/** Requests between two looks at the clock; a flush comes after a multiple of them. */
const REQUESTS = 32;

const host = new BrowserHost();
/** Set by `open`. */
let loop: ((ns: number) => Sample) | undefined;
let close = (): void => {};

async function openFile(path: string): Promise<SyncHandle> {
  const root = await browserOpfs.root();
  const file = await root.getFileHandle(path, { create: true });
  return file.createSyncAccessHandle!();
}

const control = {
  /** Makes a file of `bytes` bytes, none of its blocks zero. */
  async fill(path: string, bytes: number): Promise<void> {
    const file = await openFile(path);
    await fill(bytes, (at, chunk) => void file.write(chunk, { at }));
    file.flush();
    file.close();
  },

  /** Opens what `run` reads or writes. */
  async open(path: string, workload: Workload): Promise<void> {
    const file = await openFile(path);
    close = (): void => file.close();
    const offsets = new BlockOffsets(file.getSize(), workload);
    const views = buffers(workload.bytes);
    loop =
      workload.op === 'read'
        ? (ns) => readFor(ns, file, offsets, views)
        : (ns) => writeFor(ns, file, offsets, views, workload.flushEvery ?? Infinity);
  },

  run(ns: number): Sample {
    return loop!(ns);
  },

  close(): void {
    close();
    close = (): void => {};
  },
};

export type SyncHandleControl = typeof control;

expose(control);

function readFor(
  ns: number,
  file: SyncHandle,
  offsets: BlockOffsets,
  views: readonly Uint8Array[],
): Sample {
  const transfer = { at: 0 };
  const start = host.now();
  let requests = 0;
  let now = start;
  while (now < start + ns) {
    for (const view of views) {
      transfer.at = offsets.next();
      if (file.read(view, transfer) !== view.length) throw new Error('a read came short');
    }
    requests += REQUESTS;
    now = host.now();
  }
  return { requests, ns: now - start };
}

function writeFor(
  ns: number,
  file: SyncHandle,
  offsets: BlockOffsets,
  views: readonly Uint8Array[],
  flushEvery: number,
): Sample {
  const transfer = { at: 0 };
  const start = host.now();
  let requests = 0;
  for (let now = start; now < start + ns; now = host.now()) {
    for (const view of views) {
      transfer.at = offsets.next();
      if (file.write(view, transfer) !== view.length) throw new Error('a write came short');
    }
    requests += REQUESTS;
    if (requests % flushEvery === 0) file.flush();
  }
  file.flush();
  return { requests, ns: host.now() - start };
}

function buffers(bytes: number): readonly Uint8Array[] {
  const shared = new SharedArrayBuffer(REQUESTS * bytes);
  new Uint8Array(shared).fill(0xa5);
  return Array.from({ length: REQUESTS }, (_, i) => new Uint8Array(shared, i * bytes, bytes));
}
