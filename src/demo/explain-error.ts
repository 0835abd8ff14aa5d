// What went wrong, in plain words, and what one can do about it. Codes are the product's own; the
// original message always goes along, for those who want to know exactly.

import { BlockError } from '../block/block-error.ts';

/** What the page can offer to do about it. */
export type WayOut = 'retry' | 'reset' | 'open-image' | 'leave-image' | 'bounce' | 'start';

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
  readonly isolated: boolean;
  /** `prepare` was under way, not opening or running. */
  readonly preparing: boolean;
}

/** Turns anything thrown into a problem. */
export function explainError(error: unknown, where: Circumstances): Problem {
  const detail = describe(error);
  const back: readonly WayOut[] = where.ownImage ? ['leave-image'] : ['open-image'];
  if (!where.isolated) {
    return {
      title: 'This page is not cross-origin isolated',
      words:
        'Without isolation there is no shared memory, and the IOThread needs some. Whoever serves ' +
        'the page has to send two headers with it: Cross-Origin-Opener-Policy: same-origin and ' +
        'Cross-Origin-Embedder-Policy: require-corp. The page must come by https or from localhost.',
      command: undefined,
      ways: ['retry'],
      detail,
    };
  }
  const code = error instanceof BlockError ? error.code : undefined;
  switch (code) {
    case 'EBUSY':
      return {
        title: 'The disk is in use',
        words:
          'Another tab or window has this disk open, and a disk has one writer. Shut the guest ' +
          'down there or close that tab; then try again.',
        command: undefined,
        ways: ['retry', ...back],
        detail,
      };
    case 'ESTALE':
      return {
        title: 'The image below has changed',
        words:
          'What the guest wrote lies over an older version of the image, and the two do not fit ' +
          'together any more. A reset throws away what was written and starts from the new image.',
        command: undefined,
        ways: ['reset', ...back],
        detail,
      };
    case 'ENOSPC':
      return {
        title: "The browser's storage is full",
        words: 'Free some space on this device, or remove data of this site, and try again.',
        command: undefined,
        ways: ['retry', 'reset', ...back],
        detail,
      };
    case 'ENOENT':
      if (where.preparing && !where.ownImage) {
        return {
          title: 'There is no guest to boot yet',
          words:
            'The Linux guest is made from Debian packages and is not part of the source. Build it ' +
            'where this page is served, then try again; or open a disk image of your own.',
          command: 'npm run guest',
          ways: ['retry', 'open-image'],
          detail,
        };
      }
      return {
        title: 'Something is not there',
        words: 'A file that the disk needs was not found.',
        command: undefined,
        ways: ['retry', ...back],
        detail,
      };
    case 'EACCES':
    case 'EPERM':
      return {
        title: 'The browser denies it',
        words:
          'The browser does not give this page storage. Private windows and blocked site data do ' +
          'that; an ordinary window works.',
        command: undefined,
        ways: ['retry', ...back],
        detail,
      };
    case 'ENODEV':
      return {
        title: 'The IOThread is gone',
        words:
          'The worker that served the disk has ended, and the guest cannot go on without its disk. ' +
          'What the guest had flushed is safe.',
        command: undefined,
        ways: ['start', ...back],
        detail,
      };
    case 'ETIMEDOUT':
    case 'EIO':
      return {
        title: 'The image cannot be read',
        words:
          'The server does not answer as it should, or the storage of this browser failed. Images ' +
          'on other sites need range requests and CORS.',
        command: undefined,
        ways: ['retry', ...back],
        detail,
      };
    case 'EINVAL':
    case 'ENOTSUP':
      return {
        title: where.ownImage ? 'This image cannot be opened' : 'The disk cannot be opened',
        words: where.ownImage
          ? 'It is not a raw or qcow2 image, it is damaged, or it uses a feature that is not supported.'
          : 'The overlay is damaged, as after a creation that was cut short. A reset makes a new one.',
        command: undefined,
        ways: where.ownImage ? ['leave-image', 'open-image'] : ['reset', 'retry'],
        detail,
      };
    default:
      return {
        title: 'That did not work',
        words: 'Something unexpected happened.',
        command: undefined,
        ways: ['retry', ...back],
        detail,
      };
  }
}

/** The message with its causes. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = error instanceof BlockError ? `${error.code}: ` : '';
  const cause = error.cause === undefined ? '' : ` (${describe(error.cause)})`;
  return code + error.message + cause;
}
