// What an IOThread reports by itself, in plain words.

import type { IOThreadEvent } from '../index.ts';

/** Words for the log, and how much they matter. */
export function eventWords(event: IOThreadEvent): {
  readonly level: 'info' | 'warning' | 'error';
  readonly words: string;
} {
  switch (event.event) {
    case 'NOTICE':
      return { level: 'warning', words: event.message };
    case 'BLOCK_IO_ERROR':
      return {
        level: 'error',
        words: `A ${event.operation} failed, and the guest was told so: ${event.message}`,
      };
    case 'DEVICE_NEEDS_RESET':
      return { level: 'error', words: `The guest's driver broke the rules: ${event.reason}` };
    case 'BLOCK_RESIZE':
      return { level: 'info', words: `'${event.nodeName}' is now ${event.length} bytes long` };
    case 'IOTHREAD_BUG':
      return { level: 'error', words: `A bug of diskplane's: ${event.message}` };
    case 'IOTHREAD_FAILED':
      return { level: 'error', words: event.message };
  }
}
