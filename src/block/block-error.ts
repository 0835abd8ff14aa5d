// What the control path throws: `code` for programs, `message` for people. Survives a worker hop
// (see iothread/transfer-errors.ts).

import type { ErrorCode, Ret } from '../base/ret.ts';
import { errorCode } from '../base/ret.ts';

/** What control calls throw: `code` for programs, `message` for people. The cause, if any, is in `cause`. */
export class BlockError extends Error {
  /** An errno name. */
  readonly code: ErrorCode;
  /** The node it is about, where there is one. */
  readonly node: string | undefined;

  /** `message` names the node, the value and the limit, and where possible the way out. */
  constructor(code: ErrorCode, message: string, context: { node?: string; cause?: unknown } = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = 'BlockError';
    this.code = code;
    this.node = context.node;
  }

  /** For a negative `Ret` from the data path. */
  static fromRet(ret: Ret, what: string, node?: string): BlockError {
    const code = errorCode(ret);
    return new BlockError(code, `${what}: ${code}`, node === undefined ? {} : { node });
  }
}
