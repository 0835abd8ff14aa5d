// Where the files of the drivers lie that are not in the worker's own file. The page says so, since
// a worker does not know where it came from once a bundler or a Blob was in between.

import type { WorkerSource } from './host.ts';

/** Absolute URLs of files of code, by name: 'idb', 'qcow2-check'. */
export type DriverUrls = Readonly<Record<string, string>>;

/**
 * The files' URLs: in the folder that `source` names, or beside the worker that it names, or where
 * the entry found them.
 * @param own files that the entry knows, by name, where they lie beside it
 * @param base what the caller's relative URLs are relative to
 */
export function driverUrls(
  own: Readonly<Record<string, URL>>,
  source: WorkerSource,
  base: string,
): DriverUrls {
  const folder = driversFolder(source, base);
  const urls = Object.entries(own).map(([name, url]) => {
    return [name, folder === undefined ? url.href : new URL(`${name}.js`, folder).href];
  });
  return Object.fromEntries(urls) as DriverUrls;
}

function driversFolder({ driversUrl, workerUrl }: WorkerSource, base: string): URL | undefined {
  if (driversUrl !== undefined) {
    const folder = new URL(driversUrl, base);
    if (!folder.pathname.endsWith('/')) folder.pathname += '/';
    return folder;
  }
  if (workerUrl === undefined) return undefined;
  const worker = new URL(workerUrl, base);
  // Nothing lies beside a blob: or a data: URL.
  return worker.pathname.startsWith('/') ? new URL('drivers/', worker) : undefined;
}
