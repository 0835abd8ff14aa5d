// Why one range request failed, and what that means for the next: try again, give up on this
// operation, or give up on the image because it is no longer the one that was opened.

import type { ErrorCode } from '../../base/ret.ts';

export type HttpFaultKind =
  /** May pass: a broken connection, a busy server, a body cut short. */
  | 'retry'
  /** Will not pass by itself, but says nothing against other requests. */
  | 'fatal'
  /** The image was replaced on the server: nothing read from now on fits what was read before. */
  | 'changed'
  /** We gave it up ourselves. */
  | 'canceled';

export class HttpFault extends Error {
  readonly kind: HttpFaultKind;
  /** What an open that fails by it throws. */
  readonly code: ErrorCode;
  /** How long the server asks to be left alone, nanoseconds; 0 when it does not. */
  readonly retryAfterNs: number;

  constructor(
    kind: HttpFaultKind,
    message: string,
    more: { code?: ErrorCode; retryAfterNs?: number; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'HttpFault';
    this.kind = kind;
    this.code = more.code ?? 'EIO';
    this.retryAfterNs = more.retryAfterNs ?? 0;
  }
}
