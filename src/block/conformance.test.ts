import { describe, expect, it } from 'vitest';
import { testContext } from '../testing/test-context.ts';
import type { AnswerMode } from '../testing/controllable.ts';
import { ControllableState } from '../testing/controllable.ts';
import { conformanceCases, runConformance } from '../testing/conformance.ts';
import type { ConformanceApi } from '../testing/conformance.ts';
import type { BlockLimits } from './block-driver.ts';
import { BlockNode } from './block-node.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';

const SIZE = 2 ** 20 + 2 ** 18 + 512;
const SEED = 20_261_122;

/** Opens the same options again on a memory node that stays. */
async function graphApi(top: object): Promise<ConformanceApi> {
  const graph = new Graph(testContext());
  await openGraph(graph, { driver: 'memory', 'node-name': 'medium', size: SIZE });
  let node = await openGraph(graph, { ...top, 'node-name': 'top' });
  const reopen = async (readOnly: boolean): Promise<BlockNode> => {
    await graph.blockdevDel('top');
    node = await openGraph(graph, { ...top, 'node-name': 'top' }, { readOnly });
    return node;
  };
  return { node, seed: SEED, reopen };
}

async function memoryApi(): Promise<ConformanceApi> {
  const graph = new Graph(testContext());
  return { node: await openGraph(graph, { driver: 'memory', size: SIZE }), seed: SEED };
}

function controllableApi(
  mode: AnswerMode,
  limits: Partial<BlockLimits>,
  lacks: readonly ('pwriteZeroes' | 'pdiscard' | 'flush')[] = [],
): ConformanceApi {
  const context = testContext();
  let state = new ControllableState(SIZE, { limits, mode, lacks });
  const make = (readOnly: boolean): BlockNode => {
    const parts = { name: 'n', driver: 'c', kind: 'protocol', children: [] } as const;
    return new BlockNode({ ...parts, context, state, readOnly });
  };
  const first = make(false);
  let node = first;
  const reopen = async (readOnly: boolean): Promise<BlockNode> => {
    await node.close();
    // Only what was flushed is there again.
    const bytes = lacks.includes('flush') ? state.bytes : state.durable.slice();
    state = new ControllableState(bytes, { limits, mode, lacks });
    node = make(readOnly);
    return node;
  };
  return { node: first, seed: SEED, reopen };
}

const subjects: Record<string, () => ConformanceApi | Promise<ConformanceApi>> = {
  memory: memoryApi,
  'raw on memory': () => graphApi({ driver: 'raw', file: 'medium' }),
  'raw, a window on memory': () =>
    graphApi({ driver: 'raw', file: 'medium', offset: 1000, size: 2 ** 20 }),
  'at once, any range': () => controllableApi('sync', {}),
  'at once, 512-byte blocks, small pieces': () =>
    controllableApi('sync', { requestAlignment: 512, maxTransfer: 8192 }),
  'delayed, any range': () => controllableApi('microtask', {}),
  'delayed, 512-byte blocks, small pieces': () =>
    controllableApi('microtask', { requestAlignment: 512, maxTransfer: 8192 }),
  'delayed, no zeroes, no discard, no flush': () =>
    controllableApi('microtask', { requestAlignment: 512 }, ['pwriteZeroes', 'pdiscard', 'flush']),
  'delayed, 64 KiB zeroes and discards': () =>
    controllableApi('microtask', { pwriteZeroesAlignment: 65536, pdiscardAlignment: 65536 }),
};

/** A bare memory disk has nothing to reopen, a window keeps its size. */
const leftOut: Record<string, string> = { memory: 'reopen', 'raw, a window on memory': 'resize' };

describe.each(Object.keys(subjects))('conformance: %s', (name) => {
  it.each(conformanceCases.map((test) => [test.name, test] as const))('%s', async (_name, test) => {
    const api = await subjects[name]!();
    const ran = await runConformance(test, api);
    expect(ran).toBe(leftOut[name] === undefined || leftOut[name] !== test.needs);
  });
});
