// Whole files by HTTP, with progress, for what the emulator needs in one piece: kernel, firmware.

import { BlockError } from '../../block/block-error.ts';

/** Fetches a file. Throws BlockError: ENOENT for 404, EIO for the rest. */
export async function fetchBytes(
  url: string,
  options: {
    readonly signal: AbortSignal;
    /** Hears of bytes as they arrive, decoded. */
    readonly onBytes?: (bytes: number) => void;
  },
): Promise<ArrayBuffer> {
  const response = await request(url, options.signal);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const reader = response.body!.getReader();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    options.onBytes?.(value.length);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole.buffer;
}

/** Fetches a JSON document, whatever it holds. */
export async function fetchJson(url: string, signal: AbortSignal): Promise<unknown> {
  const response = await request(url, signal);
  // A server of single-page applications answers its page for what it does not have.
  if (response.headers.get('content-type')?.startsWith('text/html') === true) {
    throw new BlockError('ENOENT', `${url}: there is a page where a file is meant`);
  }
  return response.json();
}

async function request(url: string, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new BlockError('EIO', `${url} cannot be reached`, { cause });
  }
  if (response.status === 404) throw new BlockError('ENOENT', `${url} is not there`);
  if (!response.ok) throw new BlockError('EIO', `${url}: HTTP status ${response.status}`);
  return response;
}
