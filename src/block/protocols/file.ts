// The file driver, for Node: a regular file of the host, by synchronous calls, which is what tools
// and tests want. What is written to is written by one alone (`file-lock.ts`).

import * as fs from 'node:fs';
import { EIO, errorCode } from '../../base/ret.ts';
import { BlockError } from '../block-error.ts';
import type { BlockDriver, CreateContext, DriverState, OpenContext } from '../block-driver.ts';
import { FileHandle, errnoOfNode, identityOf, isDescriptorGone } from './file-handle.ts';
import { lockFile } from './file-lock.ts';
import { FileState } from './file-state.ts';
import { OptionReader } from '../option-reader.ts';

export interface FileOptions {
  readonly filename: string;
  /** Makes the file where it is missing. */
  readonly create: boolean;
  /** Length of a file that is made now (or is empty), bytes. */
  readonly size: number | undefined;
}

const OPT_TRANSFER = 64 * 1024;

export const driver: BlockDriver<FileOptions> = {
  name: 'file',
  kind: 'protocol',
  parseOptions,
  open: openState,
  create: createFile,
  remove: removeFile,
};

/** Files that are open on this thread, by device and inode, whatever name they were opened by. */
const openFiles = new Map<string, number>();

function parseOptions(raw: Readonly<Record<string, unknown>>): FileOptions {
  const reader = new OptionReader('file', raw);
  const filename = parseName(reader);
  const create = reader.boolean('create') ?? false;
  const size = reader.size('size');
  if (size !== undefined && !create) throw reader.bad('size', "given together with 'create'");
  reader.end();
  return { filename, create, size };
}

function parseName(reader: OptionReader): string {
  const filename = reader.string('filename');
  if (filename === undefined) throw reader.bad('filename', 'given');
  if (filename.includes('\0')) throw reader.bad('filename', 'a name without NUL');
  return filename;
}

async function openState(context: OpenContext, options: FileOptions): Promise<DriverState> {
  const { nodeName, flags } = context;
  const { filename } = options;
  if (flags.readOnly && options.create) {
    const message = `${nodeName}: file '${filename}' cannot be created read-only`;
    throw new BlockError('EINVAL', message, { node: nodeName });
  }
  const access = flags.readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR;
  const handle = openRegular(nodeName, filename, access, options.create);
  let release = (): void => {};
  try {
    const { fd, identity } = handle;
    if (flags.forceShare !== true) {
      release = lockFile({ fd, filename, nodeName, shared: flags.readOnly });
    }
    if (options.size !== undefined && handle.getSize() === 0) handle.truncate(options.size);
    countOpen(identity, 1);
    return new FileState({
      nodeName,
      handle,
      readOnly: flags.readOnly,
      optTransfer: OPT_TRANSFER,
      errnoOf: errnoOfNode,
      isGone: isDescriptorGone,
      notice: (message) => context.notice(message),
      modified: async () => String(handle.modified()),
      facts: { filename, lock: flags.forceShare === true ? 'none' : 'notes' },
      release: () => {
        release();
        countOpen(identity, -1);
      },
    });
  } catch (cause) {
    release();
    handle.close();
    throw failure(nodeName, filename, cause);
  }
}

/** For createImage: the file, empty but `size` long, whatever it was before. */
async function createFile(
  _context: CreateContext,
  size: number,
  raw: Readonly<Record<string, unknown>>,
): Promise<void> {
  const filename = parseNameAlone(raw);
  refuseOpen('create', filename);
  const handle = openRegular('create', filename, fs.constants.O_RDWR, true);
  let release: (() => void) | undefined;
  try {
    release = lockFile({ fd: handle.fd, filename, nodeName: 'create', shared: false });
    handle.truncate(0);
    handle.truncate(size);
  } catch (cause) {
    if (release !== undefined) fs.unlinkSync(filename);
    throw failure('create', filename, cause);
  } finally {
    release?.();
    handle.close();
  }
}

async function removeFile(
  _context: Omit<CreateContext, 'file'>,
  raw: Readonly<Record<string, unknown>>,
): Promise<void> {
  const filename = parseNameAlone(raw);
  refuseOpen('remove', filename);
  let fd: number | undefined;
  let release = (): void => {};
  try {
    if (fs.statSync(filename).isFile()) {
      fd = fs.openSync(filename, fs.constants.O_RDONLY);
      release = lockFile({ fd, filename, nodeName: 'remove', shared: false });
    }
    fs.unlinkSync(filename);
  } catch (cause) {
    throw failure('remove', filename, cause, 'remove');
  } finally {
    release();
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function parseNameAlone(raw: Readonly<Record<string, unknown>>): string {
  const reader = new OptionReader('file', raw);
  const filename = parseName(reader);
  reader.any('create');
  reader.any('size');
  reader.end();
  return filename;
}

/** Emptying a file that a disk uses, perhaps by another name, would be the end of that disk. */
function refuseOpen(node: string, filename: string): void {
  const stat = fs.statSync(filename, { throwIfNoEntry: false });
  if (stat === undefined || !openFiles.has(identityOf(stat))) return;
  throw new BlockError('EBUSY', `${node}: file '${filename}' is open here: close its disk first`);
}

function countOpen(identity: string, change: number): void {
  const count = (openFiles.get(identity) ?? 0) + change;
  if (count === 0) openFiles.delete(identity);
  else openFiles.set(identity, count);
}

/** Opens a regular file. Of anything else already the opening may have effects, or never end. */
function openRegular(node: string, filename: string, access: number, create: boolean): FileHandle {
  const { O_CREAT, O_NONBLOCK } = fs.constants;
  const flags = access | (create ? O_CREAT : 0) | (O_NONBLOCK ?? 0);
  let fd: number;
  try {
    const before = fs.statSync(filename, { throwIfNoEntry: false });
    if (before !== undefined) checkRegular(node, filename, before);
    fd = fs.openSync(filename, flags, 0o644);
  } catch (cause) {
    throw failure(node, filename, cause);
  }
  try {
    checkRegular(node, filename, fs.fstatSync(fd));
    return new FileHandle(fd);
  } catch (cause) {
    fs.closeSync(fd);
    throw failure(node, filename, cause);
  }
}

function checkRegular(node: string, filename: string, stat: fs.Stats): void {
  if (stat.isFile()) return;
  const what = stat.isDirectory() ? 'a directory' : 'a device, pipe or socket';
  const message = `${node}: '${filename}' is ${what}; the file driver opens regular files only`;
  throw new BlockError('EINVAL', message, { node });
}

function failure(node: string, filename: string, cause: unknown, verb = 'open'): BlockError {
  if (cause instanceof BlockError) return cause;
  const code = errorCode(-(errnoOfNode(cause) ?? EIO));
  const reason = cause instanceof Error ? cause.message : String(cause);
  const message = `${node}: cannot ${verb} file '${filename}': ${reason}`;
  return new BlockError(code, message, { node, cause });
}
