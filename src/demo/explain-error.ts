// What went wrong, in plain words, and what one can do about it. Codes are the product's own; the
// original message always goes along, for those who want to know exactly.

import type { ErrorCode } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';

/** What the page can offer to do about it. */
export type WayOut =
  | 'retry'
  | 'reset'
  | 'open-image'
  | 'leave-image'
  | 'embedded-guest'
  | 'use-memory'
  | 'use-idb'
  | 'restore-disk'
  | 'start';

export interface Problem {
  readonly title: string;
  readonly words: string;
  /** Something to type in a terminal, if that helps. */
  readonly command: string | undefined;
  readonly ways: readonly WayOut[];
  readonly detail: string;
}

export interface Circumstances {
  /** An image of the user's own was to be booted. */
  readonly ownImage: boolean;
  /** `prepare` was under way, not opening or running. */
  readonly preparing: boolean;
  /** A saved state was to be restored. */
  readonly resuming: boolean;
}

/** A problem before it is known where it arose: 'back' stands for leaving one image for another. */
interface Draft {
  readonly title: string;
  readonly words: string;
  readonly command?: string;
  readonly ways: readonly (WayOut | 'back')[];
}

const NO_GUEST: Draft = {
  title: 'There is no guest to boot yet',
  words:
    'The Linux guest is made from Debian packages and is not part of the source. Build it where ' +
    'this page is served, then try again; or boot the embedded guest, which needs nothing; or open ' +
    'a disk image of your own.',
  command: 'npm run guest',
  ways: ['retry', 'embedded-guest', 'open-image'],
};

const BAD_IMAGE: Draft = {
  title: 'This image cannot be opened',
  words:
    'It is not a raw or qcow2 image, it is damaged, or it uses a feature that is not supported.',
  ways: ['leave-image', 'open-image'],
};

const OTHER_DISK: Draft = {
  title: 'The disk is not what the saved state remembers',
  words:
    'The disk was written to since the state was saved, or it is another one. A machine that goes on ' +
    'with it would mix the two up and destroy files. The state holds a copy of the disk as it was: put ' +
    'that back, and what was written since is lost. Or leave the state, and boot the disk as it is.',
  ways: ['restore-disk', 'start', 'back'],
};

const BAD_STATE: Draft = {
  title: 'The state cannot be restored',
  words: 'It is damaged, or of another machine than this page makes now. The disk is as it was.',
  ways: ['start', 'back'],
};

const BAD_OVERLAY: Draft = {
  title: 'The disk cannot be opened',
  words: 'The overlay is damaged, as after a creation that was cut short. A reset makes a new one.',
  ways: ['reset', 'retry'],
};

const DENIED: Draft = {
  title: 'The browser denies it',
  words:
    'The browser does not give this page storage. Private windows and blocked site data do that. ' +
    'An ordinary window works; so does memory, until the page closes.',
  ways: ['use-memory', 'retry', 'back'],
};

const UNREADABLE: Draft = {
  title: 'The image cannot be read',
  words:
    'The server does not answer as it should, or the storage of this browser failed. Images on ' +
    'other sites need range requests and CORS.',
  ways: ['retry', 'back'],
};

const BY_CODE: Partial<Record<ErrorCode, Draft>> = {
  EBUSY: {
    title: 'The disk is in use',
    words:
      'Another tab or window has this disk open, and a disk has one writer. Shut the guest down ' +
      'there or close that tab; then try again.',
    ways: ['retry', 'back'],
  },
  ESTALE: {
    title: 'The image below has changed',
    words:
      'What the guest wrote lies over an older version of the image, and the two do not fit ' +
      'together any more. A reset throws away what was written and starts from the new image.',
    ways: ['reset', 'back'],
  },
  ENOSPC: {
    title: "The browser's storage is full",
    words:
      'Free some space on this device, or remove data of this site, and try again. Memory does ' +
      'without, until the page closes.',
    ways: ['retry', 'use-memory', 'reset', 'back'],
  },
  ENOENT: {
    title: 'Something is not there',
    words: 'A file that the disk needs was not found.',
    ways: ['retry', 'back'],
  },
  ENOMEDIUM: {
    title: 'The file has to be given again',
    words:
      'A page may read a file on your device only after you have chosen it, in each visit anew. ' +
      'Choose or drop the same file; what the guest wrote is still in the overlay.',
    ways: ['open-image', 'leave-image'],
  },
  ENODEV: {
    title: 'The IOThread is gone',
    words:
      'The worker that served the disk has ended, and the guest cannot go on without its disk. ' +
      'What the guest had flushed is safe.',
    ways: ['start', 'back'],
  },
  EACCES: DENIED,
  EPERM: DENIED,
  EIO: UNREADABLE,
  ETIMEDOUT: UNREADABLE,
  EINVAL: BAD_OVERLAY,
  ENOTSUP: BAD_OVERLAY,
};

const UNKNOWN: Draft = {
  title: 'That did not work',
  words: 'Something unexpected happened.',
  ways: ['retry', 'back'],
};

/** Turns anything thrown into a problem. */
export function explainError(error: unknown, where: Circumstances): Problem {
  const { title, words, command, ways } = draftFor(error, where);
  const back = where.ownImage ? 'leave-image' : 'open-image';
  return {
    title,
    words,
    command,
    ways: ways.map((way) => (way === 'back' ? back : way)),
    detail: describe(error),
  };
}

function draftFor(error: unknown, where: Circumstances): Draft {
  if (where.resuming && !where.preparing) {
    const stale = error instanceof BlockError && error.code === 'ESTALE';
    if (stale) return OTHER_DISK;
    if (!(error instanceof BlockError) || error.code === 'EINVAL') return BAD_STATE;
  }
  if (!(error instanceof BlockError)) return UNKNOWN;
  if (error.code === 'ENOENT' && where.preparing && !where.ownImage) return NO_GUEST;
  const draft = BY_CODE[error.code] ?? UNKNOWN;
  return draft === BAD_OVERLAY && where.ownImage ? BAD_IMAGE : draft;
}

/** The message with its causes. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = error instanceof BlockError ? `${error.code}: ` : '';
  const cause = error.cause === undefined ? '' : ` (${describe(error.cause)})`;
  return code + error.message + cause;
}
