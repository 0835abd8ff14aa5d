// The baseline of the OPFS rows: 4 KiB reads at random offsets through a sync access handle, into
// shared memory, in a tight loop with nothing around it. Also fills the files that are read.

import { expose } from 'comlink';
import type { SyncHandle } from '../../block/protocols/file-sync-handle.ts';
import { browserOpfs } from '../../block/protocols/opfs-environment.ts';
import { BrowserHost } from '../../host/browser.ts';
import { fill } from './fill.ts';
import { RandomBlocks, READ_BYTES } from './random-blocks.ts';
import type { Sample } from './rounds.ts';

/** Reads between two looks at the clock. */
const READS = 32;

const host = new BrowserHost(() => {
  throw new Error('the baseline starts no workers');
});
let handle: SyncHandle | undefined;
let blocks = new RandomBlocks(READ_BYTES);

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

  /** Opens what `run` reads. */
  async open(path: string): Promise<void> {
    handle = await openFile(path);
    blocks = new RandomBlocks(handle.getSize());
  },

  run(ns: number): Sample {
    const file = handle!;
    const views = pages(new SharedArrayBuffer(READS * READ_BYTES));
    const transfer = { at: 0 };
    const start = host.now();
    let requests = 0;
    let now = start;
    while (now < start + ns) {
      for (const view of views) {
        transfer.at = blocks.next();
        if (file.read(view, transfer) !== READ_BYTES) throw new Error('a read came short');
      }
      requests += READS;
      now = host.now();
    }
    return { requests, ns: now - start };
  },

  close(): void {
    handle?.close();
    handle = undefined;
  },
};

export type SyncHandleControl = typeof control;

expose(control);

function pages(buffer: SharedArrayBuffer): readonly Uint8Array[] {
  return Array.from(
    { length: READS },
    (_, i) => new Uint8Array(buffer, i * READ_BYTES, READ_BYTES),
  );
}
