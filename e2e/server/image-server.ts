// The HTTP server that tests fetch disk images from: ranges, entity tags and CORS as a good host does
// them, a delay to stand for distance, and faults that are switched on and off while it runs.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { answerRequest, answerStatus, setCommonHeaders } from './answer.ts';
import { type FileContents, openByteSource } from './byte-source.ts';
import { type ArmedFault, type Fault, nextFault } from './fault.ts';
import { listen } from './listen.ts';

/** One request as the server saw it. */
export interface LoggedRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** The Range header as it came. */
  readonly range: string | undefined;
  readonly ifMatch: string | undefined;
  /** What struck it. */
  readonly fault: Fault['kind'] | undefined;
  /** 0 until the answer's head is out, and for ever where none was given. */
  status: number;
  /** Body bytes handed to the connection, before any encoding. */
  bytes: number;
  /** The exchange is over, one way or the other. */
  done: boolean;
}

/** Running counts over all paths. */
export interface ServerStats {
  requests: number;
  /** Body bytes handed to connections, before any encoding. */
  bytes: number;
  inFlight: number;
  maxInFlight: number;
}

export interface ImageServerOptions {
  /** Path, with its leading slash, to contents: a Map, or pairs. */
  readonly files?: Iterable<readonly [string, FileContents]>;
  /** Milliseconds between a request's arrival and the head of its answer. */
  readonly delayMs?: number;
}

/** A running server, on a port of its own of 127.0.0.1. */
export class ImageServer {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  readonly url: string;
  readonly stats: ServerStats = { requests: 0, bytes: 0, inFlight: 0, maxInFlight: 0 };
  /** Every request since the start or the last `resetStats`, oldest first. */
  readonly log: LoggedRequest[] = [];
  /** As in the options; may be changed at any time. */
  delayMs: number;
  readonly #files: Map<string, FileContents>;
  readonly #faults = new Map<string, ArmedFault>();
  readonly #stop: () => Promise<void>;

  /** For `startImageServer`. */
  constructor(url: string, options: ImageServerOptions, stop: () => Promise<void>) {
    this.url = url;
    this.delayMs = options.delayMs ?? 0;
    this.#files = new Map(options.files ?? []);
    this.#stop = stop;
  }

  /** Serves `contents` at `path` from the next request on, in place of what was there. */
  setFile(path: string, contents: FileContents): void {
    this.#files.set(path, contents);
  }

  /** From now on `path` answers 404. */
  removeFile(path: string): void {
    this.#files.delete(path);
  }

  /** Arms `fault` for `path` in place of the one before; `undefined` disarms. */
  setFault(path: string, fault: Fault | undefined): void {
    if (fault) this.#faults.set(path, { fault, passed: 0, struck: 0 });
    else this.#faults.delete(path);
  }

  /** Empties the log and sets the counts to 0, but for the requests now in flight. */
  resetStats(): void {
    const { inFlight } = this.stats;
    Object.assign(this.stats, { requests: 0, bytes: 0, inFlight, maxInFlight: inFlight });
    this.log.length = 0;
  }

  /** Stops listening and breaks every connection. Idempotent. */
  close(): Promise<void> {
    return this.#stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Serves one request. For `startImageServer`. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url ?? '/', this.url).pathname);
    // A preflight is not what a fault waits for.
    const armed = request.method === 'OPTIONS' ? undefined : this.#faults.get(path);
    const fault = nextFault(armed);
    const entry = this.#log(request, response, path, fault);
    const answer = (): void => this.#answer(request, response, entry, fault);
    if (this.delayMs > 0) setTimeout(answer, this.delayMs);
    else answer();
  }

  #answer(
    request: IncomingMessage,
    response: ServerResponse,
    entry: LoggedRequest,
    fault: Fault | undefined,
  ): void {
    const contents = this.#files.get(entry.path);
    if (response.destroyed) return;
    if (!contents) {
      setCommonHeaders(response, fault);
      return answerStatus(response, 404);
    }
    const source = openByteSource(contents);
    const onBody = (bytes: number): void => {
      entry.bytes += bytes;
      this.stats.bytes += bytes;
    };
    const contentType = 'application/octet-stream';
    answerRequest(request, response, { source, contentType, onBody }, fault);
  }

  #log(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    fault: Fault | undefined,
  ): LoggedRequest {
    const { stats } = this;
    const entry: LoggedRequest = {
      method: request.method ?? '',
      path,
      range: request.headers.range,
      ifMatch: request.headers['if-match'],
      fault: fault?.kind,
      status: 0,
      bytes: 0,
      done: false,
    };
    this.log.push(entry);
    stats.requests++;
    stats.inFlight++;
    stats.maxInFlight = Math.max(stats.maxInFlight, stats.inFlight);
    response.on('close', () => {
      entry.done = true;
      if (response.headersSent) entry.status = response.statusCode;
      stats.inFlight--;
    });
    return entry;
  }
}

/** Starts a server; the caller closes it. */
export async function startImageServer(options: ImageServerOptions = {}): Promise<ImageServer> {
  const server = createServer();
  const { url, close } = await listen(server);
  const images = new ImageServer(url, options, close);
  server.on('request', (request, response) => images.handle(request, response));
  return images;
}
