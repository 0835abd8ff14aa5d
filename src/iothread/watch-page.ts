// What becomes of a thread when its page does not go on. A page that goes away, or into the back-forward
// cache, must not keep files locked: what the guest had not flushed is lost, as at a power cut; images stay
// whole. One in the background may come back, or be ended without a word: what is there becomes durable.

import type { PageHost } from '../host/host.ts';

export interface WatchedThread {
  /** Ends in good order. */
  close(): Promise<void>;
  flushAll(): Promise<void>;
  /** Ends at once. */
  putAside(): void;
}

/** Answers what stops it. */
export function watchPage(host: PageHost, thread: WatchedThread): () => void {
  const stops = [
    host.onPageHide((frozen) => {
      // A worker that is frozen with its page would hold its locks for as long (seen in WebKitGTK).
      if (frozen) thread.putAside();
      else void thread.close().catch(() => {});
    }),
    host.onBackground(() => void thread.flushAll().catch(() => {})),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
