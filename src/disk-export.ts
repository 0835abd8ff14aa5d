// A disk as a stream of bytes: asked for chunk by chunk, as fast as whoever reads takes them, and let
// go of when they stop, when their signal aborts, or when the disk is closed.

import type { StartedJob } from './disk-jobs.ts';
import type { ExportReader } from './iothread/export-reader.ts';
import type { IOThread } from './iothread/iothread.ts';

/** The export of a disk. */
export interface ExportSource {
  /** Its signal ends the stream with an error. */
  readonly job: StartedJob;
  /** Begins the export; called once, soon. */
  begin(): Promise<ExportReader>;
  /** Called once, when the stream is over and the disk let go of. */
  over(): void;
}

/** One chunk is read ahead. */
export function exportStream(source: ExportSource): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { signal } = source.job;
  let reader: Promise<ExportReader> | undefined;
  let ended: Promise<void> | undefined;
  let abort = (): void => {};
  const end = (): Promise<void> => (ended ??= letGo());
  const letGo = async (): Promise<void> => {
    signal.removeEventListener('abort', abort);
    try {
      await (await reader)?.end();
    } catch {
      // It did not begin, or its thread is gone: nothing is held.
    }
    source.over();
  };
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      abort = (): void => {
        controller.error(signal.reason);
        void end();
      };
      if (signal.aborted) abort();
      else signal.addEventListener('abort', abort, { once: true });
    },
    async pull(controller) {
      try {
        reader ??= source.begin();
        const chunk = await (await reader).next();
        if (ended !== undefined) return;
        if (chunk !== undefined) return controller.enqueue(chunk);
        await end();
        controller.close();
      } catch (error) {
        await end();
        throw error;
      }
    },
    cancel: end,
  });
}

/** Begins to read `nodeName`, by default the file that holds the image `root`, as it is once flushed. */
export async function exportNode(
  thread: IOThread,
  root: string,
  nodeName: string | undefined,
  job: StartedJob,
): Promise<ExportReader> {
  await thread.blockFlush(root);
  const nodes = await thread.queryBlock(job.signal);
  const childOf = (parent: string, role: string): string | undefined =>
    nodes.find((node) => node.nodeName === parent)!.children.find((child) => child.role === role)
      ?.nodeName;
  let image = root;
  for (let below; (below = childOf(image, 'filtered')) !== undefined;) image = below;
  const file = childOf(image, 'file');
  return thread.jobs.export(nodeName ?? file ?? root, 'raw', job);
}

/** A stream for those who iterate; leaving the loop ends it. */
export async function* iterateStream(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel();
  }
}
