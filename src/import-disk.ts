// importDisk: a Blob goes to the worker as it is, which reads it in slices; a stream is read here and
// handed over in large chunks, no faster than they are stored.

import { BlockError } from './block/block-error.ts';
import type { JobOptions } from './block/jobs/job.ts';
import type { CreateDiskOptions } from './create-disk.ts';
import { threadOptions } from './disk-options.ts';
import type { PageHost } from './host/host.ts';
import type { ImportSink } from './iothread/block-jobs.ts';
import type { BlockdevOptions } from './iothread/control.ts';
import { IOThread } from './iothread/iothread.ts';

/** How an image is imported. */
export interface ImportDiskOptions extends CreateDiskOptions, JobOptions {
  /**
   * How long a stream is, bytes: it is an error when that is not so. Without, the image grows with what
   * comes, and progress has no total. Of a Blob: how large the image is to be, at least as the Blob.
   */
  readonly size?: number;
}

/** Handed over at a time, bytes; two are under way at most. */
const CHUNK_BYTES = 1024 * 1024;

/** Throws BlockError, `signal.reason`, or what the stream threw; then there is no image. */
export async function importDiskOn(
  host: PageHost,
  source: Blob | ReadableStream<Uint8Array>,
  target: BlockdevOptions,
  options: ImportDiskOptions = {},
): Promise<void> {
  const reader = source instanceof Blob ? undefined : source.getReader();
  try {
    const thread =
      options.thread ?? (await IOThread.start(host, { ...threadOptions(options), id: 'import' }));
    try {
      const { size, signal } = options;
      if (reader === undefined) {
        const sized = size === undefined ? target : { size, ...target };
        return await thread.jobs.importBlob(source as Blob, sized, options);
      }
      const feed = (sink: ImportSink): Promise<void> => pump(reader, sink, signal);
      await thread.jobs.import(target, size, feed, options);
    } finally {
      if (options.thread === undefined) await thread.close();
    }
  } catch (error) {
    await reader?.cancel(error).catch(() => {});
    throw error;
  } finally {
    reader?.releaseLock();
  }
}

/** Hands all of the stream to `sink`. Whatever fails, the stream is not read any further. */
async function pump(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  sink: ImportSink,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  let failed = false;
  let failure: unknown;
  // Canceling ends a read that waits.
  const fail = (error: unknown): void => {
    if (failed) return;
    failed = true;
    failure = error;
    void reader.cancel(error).catch(() => {});
  };
  const abort = (): void => fail(signal!.reason);
  signal?.addEventListener('abort', abort, { once: true });
  let chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  let writing = Promise.resolve();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (failed) throw failure;
      if (done) break;
      const bytes = checked(value);
      for (let at = 0; at < bytes.length;) {
        const part = bytes.subarray(at, at + CHUNK_BYTES - filled);
        chunk.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled < CHUNK_BYTES) continue;
        await writing;
        writing = sink.write(chunk);
        writing.catch(fail);
        chunk = new Uint8Array(CHUNK_BYTES);
        filled = 0;
      }
    }
    await writing;
    if (filled > 0) await sink.write(chunk.slice(0, filled));
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

function checked(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  const what = typeof value === 'object' ? 'an object' : `a ${typeof value}`;
  throw new BlockError('EINVAL', `the stream to be imported yields ${what}, not Uint8Arrays`);
}
