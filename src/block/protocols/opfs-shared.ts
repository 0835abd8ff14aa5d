// A file in OPFS that several IOThreads have open at a time (`opfs` with `share`): each has a handle of its own, in
// Chromium's mode 'readwrite-unsafe'. The thread that opened it first holds the lock for all; a flush by one makes
// durable what any of them wrote, for it is one file. Loaded for such files.

import { BlockError } from '../block-error.ts';
import type { BlockDriver, DriverState, OpenContext } from '../block-driver.ts';
import type { OpfsDirectory, OpfsEnvironment } from './opfs-environment.ts';
import type { OpfsOptions } from './opfs.ts';

const MODE = 'readwrite-unsafe';

/** What goes to the other threads. */
interface Shared {
  readonly shared: true;
}

/** As `driver` of `environment` opens it. Throws BlockError: ENOTSUP in a browser without such handles. */
export async function openShared(
  driver: (environment: OpfsEnvironment) => BlockDriver<OpfsOptions>,
  environment: OpfsEnvironment,
  context: OpenContext,
  options: OpfsOptions,
): Promise<DriverState> {
  const node = context.nodeName;
  if (context.flags.readOnly) {
    const message = `${node}: 'share' is for disks that are written to: readers share as they are`;
    throw new BlockError('EINVAL', message, { node });
  }
  const follows = (context.carried as Partial<Shared> | undefined)?.shared === true;
  const unsafe: OpfsEnvironment = {
    root: async () => sharing(await environment.root(), node),
    locks: () => (follows ? undefined : environment.locks()),
  };
  const state = await driver(unsafe).open(context, { ...options, share: false });
  const share = (): Shared => ({ shared: true });
  return Object.assign(state, { share });
}

/** The same directory, whose files are opened in the shared mode. */
function sharing(directory: OpfsDirectory, node: string): OpfsDirectory {
  return {
    getDirectoryHandle: async (...args) =>
      sharing(await directory.getDirectoryHandle(...args), node),
    removeEntry: (name) => directory.removeEntry(name),
    async getFileHandle(...args) {
      const file = await directory.getFileHandle(...args);
      return {
        getFile: () => file.getFile(),
        createSyncAccessHandle: async () => {
          // Browsers without modes ignore them or throw a TypeError.
          const handle = await file.createSyncAccessHandle?.({ mode: MODE }).catch(unlessTypeError);
          if (handle !== undefined && (handle as { mode?: string }).mode === MODE) return handle;
          handle?.close();
          throw new BlockError(
            'ENOTSUP',
            `${node}: this browser lets one thread alone open a file: leave 'share' out`,
            { node },
          );
        },
      };
    },
  };
}

function unlessTypeError(error: unknown): undefined {
  if (!(error instanceof TypeError)) throw error;
}
