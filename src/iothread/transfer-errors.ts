// Comlink carries an error's name, message and stack only. This handler carries `code`, `node` and
// `cause` across as well. Both sides of the hop install it.

import { transferHandlers } from 'comlink';
import type { TransferHandler } from 'comlink';
import { BlockError } from '../block/block-error.ts';
import type { ErrorCode } from '../base/ret.ts';

interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: ErrorCode | undefined;
  readonly node: string | undefined;
  readonly cause: PlainError | undefined;
}

/** How many causes deep. */
const MAX_CAUSES = 4;

function toPlain(value: unknown, depth = 0): PlainError {
  const error = value instanceof Error ? value : new Error(String(value));
  const block = error instanceof BlockError ? error : undefined;
  const cause =
    error.cause === undefined || depth >= MAX_CAUSES ? undefined : toPlain(error.cause, depth + 1);
  const { name, message, stack } = error;
  return { name, message, stack, code: block?.code, node: block?.node, cause };
}

function fromPlain(plain: PlainError): Error {
  const cause = plain.cause === undefined ? undefined : fromPlain(plain.cause);
  let error: Error;
  if (plain.code !== undefined) {
    error = new BlockError(plain.code, plain.message, {
      ...(plain.node === undefined ? {} : { node: plain.node }),
      cause,
    });
  } else if (plain.name === 'AbortError') {
    error = new DOMException(plain.message, 'AbortError');
  } else {
    error = new Error(plain.message, cause === undefined ? undefined : { cause });
    error.name = plain.name;
  }
  if (plain.stack !== undefined) Object.defineProperty(error, 'stack', { value: plain.stack });
  return error;
}

interface Thrown {
  readonly value: unknown;
}

let installed = false;

/** Idempotent. */
export function installTransferHandlers(): void {
  if (installed) return;
  installed = true;
  const original = transferHandlers.get('throw')!;
  const throwHandler: TransferHandler<Thrown, PlainError> = {
    canHandle: (value): value is Thrown => original.canHandle(value),
    serialize: ({ value }) => [toPlain(value), []],
    deserialize: (plain): never => {
      throw fromPlain(plain);
    },
  };
  transferHandlers.set('throw', throwHandler);
}
