// The page's only clock and timers, taken from the host as everywhere else in the product.

import { BrowserHost } from '../host/browser.ts';

const host = new BrowserHost();

/** Monotonic seconds since an arbitrary start. */
export function nowSeconds(): number {
  return host.now() / 1e9;
}

/** Milliseconds since 1970, for dates. */
export function wallClockMs(): number {
  return Date.now();
}

/** Calls back once after `ms` milliseconds; answers what cancels it. */
export function after(ms: number, callback: () => void): () => void {
  return host.setTimer(callback, ms);
}

/** Calls back every `ms` milliseconds, counted from the end of one call; answers what stops it. */
export function every(ms: number, callback: () => void): () => void {
  let cancel = (): void => {};
  const next = (): void => {
    cancel = after(ms, () => {
      next();
      callback();
    });
  };
  next();
  return () => cancel();
}

/** Resolves after `ms` milliseconds; rejects with the signal's reason when aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const abort = (): void => {
      cancel();
      reject(signal!.reason as Error);
    };
    const cancel = after(ms, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}
