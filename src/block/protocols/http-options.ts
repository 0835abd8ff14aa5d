// The options of the http driver: what may be said, its limits and defaults.

import { OptionReader } from '../option-reader.ts';

export interface HttpOptions {
  /** Absolute, http or https, without user name. */
  readonly url: string;
  /** How far to read ahead on sequential access, bytes; 0 for not at all. */
  readonly readahead: number;
  /** Time limit of one request with its body, seconds. */
  readonly timeout: number;
  /** Memory for chunks, bytes. */
  readonly cacheSize: number;
  /** What is fetched and cached as a unit, bytes; a power of two. */
  readonly chunkSize: number;
  /** Requests in flight at most. */
  readonly maxConnections: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly credentials: RequestCredentials;
}

/** A request is at most this long, bytes (one chunk where that is longer). */
export const MAX_HTTP_REQUEST: number = 1024 * 1024;
/** Chunks in memory at least. */
export const MIN_CHUNKS = 4;
const CREDENTIALS = ['omit', 'same-origin', 'include'] as const;
/** Header fields that decide what an answer means: ours alone. */
const OURS = /^(range|if-.*|accept-encoding|cache-control|pragma)$/i;
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Throws BlockError('EINVAL'). */
export function parseHttpOptions(raw: Readonly<Record<string, unknown>>): HttpOptions {
  const reader = new OptionReader('http', raw);
  const url = parseUrl(reader);
  const chunkSize = reader.size('chunk-size', 4096, 4 * MAX_HTTP_REQUEST) ?? 64 * 1024;
  if (!Number.isInteger(Math.log2(chunkSize))) throw reader.bad('chunk-size', 'a power of two');
  const cacheSize = reader.size('cache-size', 0, 2 ** 32) ?? 32 * 1024 * 1024;
  if (cacheSize < MIN_CHUNKS * chunkSize) {
    throw reader.bad('cache-size', `at least ${MIN_CHUNKS} chunks of ${chunkSize}`);
  }
  const readahead = reader.size('readahead', 0, 2 ** 30) ?? 256 * 1024;
  const options: HttpOptions = {
    url,
    chunkSize,
    cacheSize,
    // More would push out what a guest is about to read.
    readahead: Math.min(readahead, cacheSize / 4),
    timeout: parseNumber(reader, 'timeout', 10, 0.001, 10000),
    maxConnections: Math.floor(parseNumber(reader, 'max-connections', 6, 1, 64)),
    headers: parseHeaders(reader),
    credentials: reader.choice('credentials', CREDENTIALS) ?? 'same-origin',
  };
  reader.end();
  return options;
}

function parseUrl(reader: OptionReader): string {
  const text = reader.string('url');
  if (text === undefined) throw reader.bad('url', 'given');
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw reader.bad('url', 'an absolute URL');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw reader.bad('url', 'an http or https URL');
  }
  if (url.username !== '' || url.password !== '') {
    throw reader.bad('url', "a URL without user name (option 'headers' can carry Authorization)");
  }
  url.hash = '';
  return url.href;
}

function parseHeaders(reader: OptionReader): Record<string, string> {
  const value = reader.any('headers');
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw reader.bad('headers', 'an object of names and texts');
  }
  const headers: Record<string, string> = {};
  for (const [name, text] of Object.entries(value as Record<string, unknown>)) {
    const good = FIELD_NAME.test(name) && typeof text === 'string' && FIELD_VALUE.test(text);
    if (!good || OURS.test(name))
      throw reader.bad('headers', `without a field '${name}' like that`);
    headers[name] = text;
  }
  return headers;
}

/** A number, also as text, perhaps with a fraction. */
function parseNumber(
  reader: OptionReader,
  key: string,
  fallback: number,
  min: number,
  max: number,
): number {
  const value = reader.any(key) ?? fallback;
  const number = typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && number >= min && number <= max) return number;
  throw reader.bad(key, `a number from ${min} to ${max}`);
}
