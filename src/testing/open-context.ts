// What a driver's `open` is handed, for tests of one driver without a graph around it. Notices are
// kept, children are refused.

import type { AioContext } from '../aio/aio-context.ts';
import { BlockError } from '../block/block-error.ts';
import type { OpenContext, OpenedAhead } from '../block/block-driver.ts';
import { testContext } from './test-context.ts';

export interface TestOpenContext extends OpenContext {
  /** Everything said by `notice`, in order. */
  readonly notices: string[];
}

export function openContext(
  options: {
    readOnly?: boolean;
    signal?: AbortSignal;
    aioContext?: AioContext;
    carried?: unknown;
    ahead?: OpenedAhead;
    takesOver?: boolean;
  } = {},
): TestOpenContext {
  const notices: string[] = [];
  const refuse = async (): Promise<never> => {
    throw new BlockError('EINVAL', 'this test has no children');
  };
  return {
    nodeName: 'node0',
    aioContext: options.aioContext ?? testContext(),
    flags: { readOnly: options.readOnly ?? false },
    signal: options.signal,
    carried: options.carried,
    ahead: options.ahead,
    takesOver: options.takesOver ?? false,
    notices,
    notice: (message) => void notices.push(message),
    openChild: refuse,
    openNamedInImage: refuse,
  };
}
