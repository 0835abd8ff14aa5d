// Drivers in files of their own, loaded when first used. Such a file imports nothing, so that it may
// lie anywhere and under any name: it exports `load`, a function that is handed what it needs of the
// worker's own file and of other such files. The build turns `import()`s of the sources into calls of
// `loadDriverFile` and writes the files (e2e/setup/driver-files.mjs); the sources never call it.

import { BlockError } from '../block/block-error.ts';
import type { DriverUrls } from '../host/driver-urls.ts';

/** What a module exports, by name. */
export type Exports = Readonly<Record<string, unknown>>;

/** A file of the build. */
interface DriverFile {
  /** Version and hash of the build it is from, which must be the worker's. */
  readonly build: string;
  /** Runs the file's code; `need` answers what another file exports, the worker's without a name. */
  load(need: (name?: string) => Exports | Promise<Exports>): Promise<Exports>;
}

let workerExports: Exports = {};
let workerBuild = '';
let urls: DriverUrls = {};
const loaded = new Map<string, Promise<Exports>>();

/** What the files may take from the worker's. The worker's own call, before any other. */
export function provideToDriverFiles(exports: Exports, build: string): void {
  workerExports = exports;
  workerBuild = build;
}

/** Where the files lie: the page's word. */
export function setDriverUrls(found: DriverUrls): void {
  urls = found;
}

/** What the file `name` exports. Each runs once; one that could not be loaded is tried again. */
export function loadDriverFile(name: string): Promise<Exports> {
  let exports = loaded.get(name);
  if (exports === undefined) {
    exports = run(name);
    loaded.set(name, exports);
    exports.catch(() => loaded.delete(name));
  }
  return exports;
}

async function run(name: string): Promise<Exports> {
  const url = urls[name];
  const wayOut = 'copy the folder `drivers` to beside the worker, or say where it is: `driversUrl`';
  if (url === undefined) {
    throw new BlockError('ENOENT', `the page knows no file for '${name}'; ${wayOut}`);
  }
  const file = await (
    import(/* @vite-ignore */ /* webpackIgnore: true */ url) as Promise<DriverFile>
  ).catch((cause: unknown) => {
    const message = `'${name}' is in a file of its own, which cannot be loaded from ${url}`;
    throw new BlockError('ENOENT', `${message} (${String(cause)}); ${wayOut}`, { cause });
  });
  if (file.build !== workerBuild) {
    const builds = `${url} is of diskplane ${file.build}, the worker of ${workerBuild}`;
    throw new BlockError('EINVAL', `${builds}; take both from the same package`);
  }
  return file.load((needed) => (needed === undefined ? workerExports : loadDriverFile(needed)));
}
