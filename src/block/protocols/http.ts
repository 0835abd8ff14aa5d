// The http driver: a read-only image on a web server, fetched by byte ranges as it is read, checked
// on every answer to be the same image still, and kept in a bounded memory. No server's word is
// taken on trust: a wrong, short or strange answer is an I/O error, never data.

import { BlockError } from '../block-error.ts';
import type { BlockDriver, DriverState, OpenContext } from '../block-driver.ts';
import { HttpFault } from './http-fault.ts';
import type { HttpIdentity } from './http-answer.ts';
import { MIN_CHUNKS, parseHttpOptions } from './http-options.ts';
import type { HttpOptions } from './http-options.ts';
import type { HttpSource } from './http-range.ts';
import { readRange } from './http-retry.ts';
import { HttpState, pinnedBy } from './http-state.ts';

/** The driver over a given `fetch`. */
export function httpDriver(fetchRange: typeof fetch): BlockDriver<HttpOptions> {
  return {
    name: 'http',
    kind: 'protocol',
    parseOptions: parseHttpOptions,
    reopenable: ['readahead', 'timeout', 'cache-size', 'chunk-size', 'max-connections', 'headers'],
    open: (context, options) => open(context, options, fetchRange),
  };
}

async function open(
  context: OpenContext,
  options: HttpOptions,
  fetchRange: typeof fetch,
): Promise<DriverState> {
  const { nodeName: node, aioContext, flags } = context;
  if (!flags.readOnly) {
    throw new BlockError(
      'EROFS',
      `${node}: an http image cannot be written; open it read-only, or put an overlay over it`,
      { node },
    );
  }
  const source: HttpSource = {
    url: options.url,
    headers: options.headers,
    credentials: options.credentials,
    fetch: fetchRange,
    aioContext,
    timeoutNs: options.timeout * 1e9,
    identity: context.carried as HttpIdentity | undefined,
    requests: 0,
    bytes: 0,
    retries: 0,
  };
  const signal = context.signal ?? new AbortController().signal;
  try {
    // HEAD lies too often; this asks the very question that all later requests ask. An image that
    // comes from another thread was asked there, and stays pinned to that answer.
    if (source.identity === undefined)
      await readRange(source, { start: 0, end: 1, position: 0, sink: () => {} }, signal);
  } catch (error) {
    const fault = error as HttpFault;
    const message = `${node}: cannot open ${options.url}: ${fault.message}`;
    throw new BlockError(fault.code ?? 'EIO', message, { node, cause: error });
  }
  const identity = source.identity!;
  const cacheSize = MIN_CHUNKS * options.chunkSize;
  const pinned = pinnedBy(identity);
  if (pinned === 'size' && context.carried === undefined) {
    context.notice(
      `${node}: ${options.url} has neither a strong ETag nor Last-Modified (or hides them): only a ` +
        'change of its size would be noticed',
    );
  }
  return new HttpState({
    aioContext,
    nodeName: node,
    options: flags.direct === true ? { ...options, cacheSize, readahead: 0 } : options,
    source,
    identity,
    notice: (message) => context.notice(message),
  });
}

export const driver: BlockDriver<HttpOptions> = httpDriver((input, init) =>
  globalThis.fetch(input, init),
);
