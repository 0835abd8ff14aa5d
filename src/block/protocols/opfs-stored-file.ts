// What is at a path of OPFS, found without a sync access handle.

import { BlockError } from '../block-error.ts';
import type { OpfsEnvironment } from './opfs-environment.ts';

export interface StoredFile {
  /** Length. */
  readonly bytes: number;
  remove(): Promise<void>;
}

/** Undefined where there is no such file, or no OPFS. Throws what OPFS throws else. */
export async function findStoredFile(
  environment: OpfsEnvironment,
  path: string,
): Promise<StoredFile | undefined> {
  const names = path.split('/');
  const name = names.pop()!;
  try {
    let directory = await environment.root();
    for (const folder of names) {
      directory = await directory.getDirectoryHandle(folder, { create: false });
    }
    const handle = await directory.getFileHandle(name, { create: false });
    const { size } = await handle.getFile();
    return { bytes: size, remove: () => directory.removeEntry(name) };
  } catch (error) {
    if (error instanceof BlockError || NOTHING.has(nameOf(error))) return undefined;
    throw error;
  }
}

/** A directory where a file is meant is no disk; a window that is denied OPFS has none. */
const NOTHING: ReadonlySet<string> = new Set([
  'NotFoundError',
  'TypeMismatchError',
  'SecurityError',
]);

function nameOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.name : '';
}
