// Comlink carries an error's name, message and stack only, and no AbortSignal at all. These handlers
// carry `code`, `node` and `cause` across, and let a call's last argument be a signal. Both sides of
// the hop install them.

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

const signalHandler: TransferHandler<AbortSignal, MessagePort> = {
  canHandle: (value): value is AbortSignal => value instanceof AbortSignal,
  serialize: (signal) => {
    const { port1, port2 } = new MessageChannel();
    const abort = (): void => port1.postMessage(toPlain(signal.reason));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    unref(port1);
    return [port2, [port2]];
  },
  deserialize: (port) => {
    const controller = new AbortController();
    port.onmessage = ({ data }: MessageEvent<PlainError>): void => {
      controller.abort(fromPlain(data));
      port.close();
    };
    unref(port);
    return controller.signal;
  },
};

/** In Node an open port would keep the process alive. */
function unref(port: MessagePort): void {
  (port as MessagePort & { unref?: () => void }).unref?.();
}

interface Thrown {
  readonly value: unknown;
}

/** Idempotent. */
export function installTransferHandlers(): void {
  if (transferHandlers.has('diskplane-signal')) return;
  const original = transferHandlers.get('throw')!;
  const throwHandler: TransferHandler<Thrown, PlainError> = {
    canHandle: (value): value is Thrown => original.canHandle(value),
    serialize: ({ value }) => [toPlain(value), []],
    deserialize: (plain): never => {
      throw fromPlain(plain);
    },
  };
  transferHandlers.set('throw', throwHandler);
  transferHandlers.set('diskplane-signal', signalHandler);
}
