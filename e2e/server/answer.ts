// Answers one request for one representation, by the book (RFC 9110: conditions of section 13, ranges
// of section 14) unless a fault is given. Knows nothing of paths, counters or servers, so that the
// test server, the dev server and the preview all serve through it.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Readable, Transform } from 'node:stream';
import { createGzip } from 'node:zlib';
import { type ByteRange, contentRange, parseByteRange } from './byte-range.ts';
import type { ByteSource } from './byte-source.ts';
import type { Fault } from './fault.ts';

/** What makes pages isolated, lets others read us, and keeps caches out of a test's way. */
export const COMMON_HEADERS: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Cache-Control': 'no-cache',
};

const CORS_HEADERS: Readonly<Record<string, string>> = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Methods': 'GET, HEAD, OPTIONS',
  'Access-Control-Allow-Headers': 'Range, If-Match, If-None-Match, If-Range',
  'Access-Control-Max-Age': '86400',
};

const EXPOSED = 'Content-Range, Content-Length, Content-Encoding, Accept-Ranges, ETag, Retry-After';

/** A representation with what it is called in headers. */
export interface Answer {
  readonly source: ByteSource;
  readonly contentType: string;
  /** Where the bytes of `source` are an encoded form of the file. Disables ranges. */
  readonly contentEncoding?: string;
  /** Told of body bytes as they are handed to the connection. */
  readonly onBody?: (bytes: number) => void;
}

/** Sets COOP, COEP, CORP and CORS headers, or fewer where `fault` says so. */
export function setCommonHeaders(response: ServerResponse, fault?: Fault): void {
  const cors = fault?.kind === 'no-cors' ? {} : CORS_HEADERS;
  for (const [name, value] of Object.entries({ ...COMMON_HEADERS, ...cors })) {
    response.setHeader(name, value);
  }
  if (fault?.kind !== 'no-cors' && fault?.kind !== 'no-expose') {
    response.setHeader('Access-Control-Expose-Headers', EXPOSED);
  }
}

/** Ends `response` with a status and no data. */
export function answerStatus(response: ServerResponse, status: number): void {
  response.statusCode = status;
  response.setHeader('Content-Length', 0);
  response.end();
}

/**
 * Answers a GET, HEAD or OPTIONS. The body goes out in its own time; `response` emits `close` when
 * all is over.
 */
export function answerRequest(
  request: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
  fault?: Fault,
): void {
  setCommonHeaders(response, fault);
  if (request.method === 'OPTIONS') return answerStatus(response, 204);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD, OPTIONS');
    return answerStatus(response, 405);
  }
  if (fault?.kind === 'hang') return;
  if (fault?.kind === 'refuse') return void request.socket.destroy();
  if (fault?.kind === 'status') {
    if (fault.retryAfter !== undefined) response.setHeader('Retry-After', fault.retryAfter);
    return answerStatus(response, fault.status ?? 500);
  }

  const { source } = answer;
  const etag = etagUnder(fault, source.etag);
  if (etag !== undefined) response.setHeader('ETag', etag);
  const encoding = fault?.kind === 'gzip' ? 'gzip' : answer.contentEncoding;
  if (encoding !== undefined) response.setHeader('Content-Encoding', encoding);
  response.setHeader('Content-Type', answer.contentType);
  response.setHeader('Accept-Ranges', answer.contentEncoding === undefined ? 'bytes' : 'none');

  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers;
  if (ifMatch !== undefined && !matchesTag(ifMatch, etag)) return answerStatus(response, 412);
  if (ifNoneMatch !== undefined && matchesTag(ifNoneMatch, etag)) {
    response.statusCode = 304;
    return void response.end();
  }

  const whole: ByteRange = { first: 0, last: source.size - 1 };
  const asked =
    answer.contentEncoding === undefined ? askedRange(request, source.size, etag) : undefined;
  if (asked === 'unsatisfiable') {
    response.setHeader('Content-Range', `bytes */${source.size}`);
    return answerStatus(response, 416);
  }
  let range = fault?.kind === 'ignore-range' ? undefined : asked;
  if (range && fault?.kind === 'short-range') {
    const length = Math.max(1, fault.bytes ?? 0);
    range = { first: range.first, last: Math.min(range.last, range.first + length - 1) };
  }
  if (range) {
    response.statusCode = 206;
    const named = fault?.kind === 'wrong-content-range' ? neighbour(range, source.size) : range;
    response.setHeader(
      'Content-Range',
      contentRange(named, fault?.kind === 'no-total' ? '*' : source.size),
    );
  }
  const { first, last } = range ?? whole;
  // Without a length a cut body looks complete (chunked transfer), which is the point of that fault;
  // and what gzip will make of a body, nobody knows beforehand.
  if (fault?.kind !== 'truncate' && fault?.kind !== 'gzip')
    response.setHeader('Content-Length', last - first + 1);
  if (request.method === 'HEAD') return void response.end();
  sendBody(response, source.stream({ first, last }), answer.onBody ?? (() => {}), fault);
}

/** Sends `body`, or as much of it as `fault` lets through. */
function sendBody(
  response: ServerResponse,
  body: Readable,
  onBody: (bytes: number) => void,
  fault: Fault | undefined,
): void {
  const fail = (): void => void response.destroy();
  response.on('close', () => body.destroy());
  body.on('error', fail);
  const whole = (through?: Transform): void => {
    body.on('data', (chunk: Buffer) => onBody(chunk.length));
    (through ? body.pipe(through) : body).pipe(response);
  };
  const head = (end: () => void): void => {
    sendHead(response, body, fault?.bytes ?? 0, onBody, end);
  };
  switch (fault?.kind) {
    case 'corrupt':
      return whole(inverter());
    case 'gzip':
      return whole(createGzip());
    case 'truncate':
      return head(() => response.end());
    case 'reset':
      return head(fail);
    case 'stall':
      return head(() => {});
    default:
      return whole();
  }
}

/** Sends the first `bytes` of `body`, at least the headers, and then calls `end`. */
function sendHead(
  response: ServerResponse,
  body: Readable,
  bytes: number,
  onBody: (bytes: number) => void,
  end: () => void,
): void {
  let left = bytes;
  response.flushHeaders();
  const finish = (): void => {
    body.destroy();
    // What was written must leave before the connection is broken.
    response.write('', () => end());
  };
  if (left === 0) return finish();
  body.on('data', (chunk: Buffer) => {
    if (left === 0) return;
    const part = chunk.subarray(0, left);
    response.write(part);
    onBody(part.length);
    left -= part.length;
    if (left === 0) finish();
  });
  body.on('end', finish);
}

function inverter(): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      done(null, chunk.map((byte) => byte ^ 0xff)); // prettier-ignore
    },
  });
}

/** The range to serve, or `undefined` for the whole; If-Range decides whether Range counts (13.1.5). */
function askedRange(
  request: IncomingMessage,
  size: number,
  etag: string | undefined,
): ByteRange | 'unsatisfiable' | undefined {
  const ifRange = request.headers['if-range'];
  const fresh = ifRange === undefined || (ifRange === etag && !ifRange.startsWith('W/'));
  return fresh ? parseByteRange(request.headers.range, size) : undefined;
}

/** Strong comparison for If-Match; a weak tag matches nothing, so our weak fault shows there too. */
function matchesTag(header: string, etag: string | undefined): boolean {
  if (etag === undefined) return false;
  if (header.trim() === '*') return true;
  return !etag.startsWith('W/') && header.split(',').some((tag) => tag.trim() === etag);
}

function etagUnder(fault: Fault | undefined, etag: string): string | undefined {
  switch (fault?.kind) {
    case 'no-etag':
      return undefined;
    case 'weak-etag':
      return `W/${etag}`;
    case 'change-etag':
      return `"replaced-${etag.slice(1)}`;
    case 'gzip':
      return `${etag.slice(0, -1)}-gzip"`;
    default:
      return etag;
  }
}

/** A range of the same length beside `range`. */
function neighbour(range: ByteRange, size: number): ByteRange {
  const length = range.last - range.first + 1;
  const shift = range.last + length < size ? length : -Math.min(length, range.first);
  return { first: range.first + shift, last: range.last + shift };
}
