// Locks of files between processes and threads, in Node, which has no fcntl: who opens a file leaves a note
// in a directory that all agree on, named after the file's device and inode, and looks at the notes of others.
// A note counts while the descriptor that it names is open on that file (/proc/PID/fd), so one of a process
// that died, or of a thread that was ended, is no obstacle. Two that come at once both see each other and may
// both be refused, but never both be let in. It holds among those who share the directory for temporary files;
// QEMU's own locks are not seen, nor do they see these. Where there is no /proc a note counts while its
// process lives.

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { BlockError } from '../block-error.ts';

/** Below the directory for temporary files: a directory for each file that is open. */
export const LOCK_DIRECTORY = 'diskplane-locks';
/** By this thread so far. */
let taken = 0;

/** What a lock is taken for. */
export interface FileLockRequest {
  /** Open on the file, and for as long as the lock is held. */
  readonly fd: number;
  readonly filename: string;
  readonly nodeName: string;
  readonly shared: boolean;
}

/** Answers what releases it (idempotent). Throws BlockError('EBUSY') that names the process in the way. */
export function lockFile({ fd, filename, nodeName, shared }: FileLockRequest): () => void {
  const { dev, ino } = fs.fstatSync(fd);
  const place = join(tmpdir(), LOCK_DIRECTORY, `${dev}-${ino}`);
  fs.mkdirSync(place, { recursive: true, mode: 0o777 });
  const own = `${process.pid}-${fd}`;
  // The last part is nobody else's: the descriptor may be another thread's before the note is gone.
  const note = join(place, `${own}-${shared ? 'shared' : 'exclusive'}-${threadId}.${taken++}`);
  fs.writeFileSync(note, filename);
  const release = (): void => {
    fs.rmSync(note, { force: true });
    try {
      fs.rmdirSync(place);
    } catch {
      // Others have notes there.
    }
  };
  try {
    for (const name of fs.readdirSync(place)) {
      const [pid, theirFd, mode] = name.split('-');
      if (`${pid}-${theirFd}` === own) {
        // Of one who had this very descriptor before.
        if (join(place, name) !== note) fs.rmSync(join(place, name), { force: true });
      } else if (!holds(Number(pid), Number(theirFd), dev, ino)) {
        fs.rmSync(join(place, name), { force: true });
      } else if (!shared || mode !== 'shared') {
        throw busy(nodeName, filename, Number(pid), shared);
      }
    }
  } catch (error) {
    release();
    throw error;
  }
  return release;
}

/** Whether process `pid` has the file open by that descriptor. Unknown counts as yes. */
function holds(pid: number, fd: number, dev: number, ino: number): boolean {
  try {
    const stat = fs.statSync(`/proc/${pid}/fd/${fd}`);
    return stat.dev === dev && stat.ino === ino;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (fs.existsSync('/proc/self/fd')) return code !== 'ENOENT';
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function busy(node: string, filename: string, pid: number, shared: boolean): BlockError {
  const who = pid === process.pid ? 'another disk of this process' : `process ${pid}`;
  const message =
    `${node}: file '${filename}' is in use: ${who} has it open${shared ? ' for writing' : ''}. Close ` +
    "that one, open both 'read-only', or read it all the same with 'force-share'";
  return new BlockError('EBUSY', message, { node });
}
