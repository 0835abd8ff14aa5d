// Runs the conformance lists inside a dedicated worker, on the event loop that IOThreads run: the
// real OPFS, the real fetch. Asked by a message, it answers with what passed and what failed.

import { DOORBELL_WORDS } from '../src/aio/event-notifier.ts';
import { WorkerContext } from '../src/aio/worker-context.ts';
import type { BlockNode } from '../src/block/block-node.ts';
import { Graph } from '../src/block/graph.ts';
import { createImage } from '../src/block/create.ts';
import { openGraph } from '../src/block/open.ts';
import { nodeStats } from '../src/block/query-stats.ts';
import { BrowserHost } from '../src/host/browser.ts';
import { conformanceCases, runConformance } from '../src/testing/conformance.ts';
import { checkReadOnly } from '../src/testing/read-only-conformance.ts';

const SIZE = 2 ** 20 + 512;
const SEED = 20_261_122;

/** What to run over, and where the server has an image of zeroes and one of other bytes. */
export interface ConformanceQuestion {
  readonly subject: string;
  readonly zeroes: string;
  readonly image: string;
}

export interface ConformanceAnswer {
  readonly passed: readonly string[];
  readonly skipped: readonly string[];
  readonly failed: readonly string[];
  /** Requests on the nodes that were answered at once, and those that took a promise. */
  readonly answeredSync: number;
  readonly promises: number;
}

const host = new BrowserHost();
const context = new WorkerContext(
  'conformance',
  host,
  new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS)),
);
let images = 0;

type Options = Record<string, unknown>;

/** How to make a fresh image and open it; `again` opens it once more. */
const subjects: Record<
  string,
  (question: ConformanceQuestion) => { first: Options; again?: Options; create?: Options }
> = {
  memory: () => ({ first: { driver: 'memory', size: SIZE } }),
  opfs: () => {
    const file = { driver: 'opfs', path: `conformance/${images++}.img` };
    return {
      first: { driver: 'raw', file: { ...file, create: true, size: SIZE } },
      again: { driver: 'raw', file },
    };
  },
  'qcow2 in OPFS': () => {
    const file = { driver: 'opfs', path: `conformance/${images++}.qcow2` };
    const again = { driver: 'qcow2', file };
    return { create: { driver: 'qcow2', size: SIZE, file }, first: again, again };
  },
  idb: () => {
    const file = { driver: 'idb', database: `conformance-${images++}` };
    return {
      first: { driver: 'raw', file: { ...file, create: true, size: SIZE } },
      again: { driver: 'raw', file },
    };
  },
  'qcow2 in IndexedDB': () => {
    const file = { driver: 'idb', database: `conformance-${images++}.qcow2` };
    const again = { driver: 'qcow2', file };
    return { create: { driver: 'qcow2', size: SIZE, file }, first: again, again };
  },
  'qcow2 in OPFS with small clusters over HTTP': ({ zeroes }) => {
    const file = { driver: 'opfs', path: `conformance/${images++}.qcow2` };
    const backing = { driver: 'raw', file: { driver: 'http', url: zeroes } };
    const again = { driver: 'qcow2', file, backing };
    const create = { driver: 'qcow2', size: SIZE, 'cluster-size': 4096, file };
    return { create, first: again, again };
  },
};

async function runWritable(question: ConformanceQuestion): Promise<ConformanceAnswer> {
  const answer = { passed: [] as string[], skipped: [] as string[], failed: [] as string[] };
  let answeredSync = 0;
  let promises = 0;
  for (const test of conformanceCases) {
    const graph = new Graph(context);
    const { first, again, create } = subjects[question.subject]!(question);
    const open = (options: Options, readOnly: boolean): Promise<BlockNode> =>
      openGraph(graph, { ...options, 'node-name': 'top' }, { readOnly });
    try {
      if (create !== undefined) await createImage(graph, create);
      const node = await open(first, false);
      const reopen = async (readOnly: boolean): Promise<BlockNode> => {
        await graph.blockdevDel('top');
        return open(again!, readOnly);
      };
      const ran = await runConformance(test, {
        node,
        seed: SEED,
        ...(again === undefined ? {} : { reopen }),
      });
      (ran ? answer.passed : answer.skipped).push(test.name);
      for (const stats of graph.nodes.map(nodeStats)) {
        answeredSync += stats.answeredSync;
        promises += stats.promises;
      }
    } catch (error) {
      answer.failed.push(String(error));
    }
    await graph.closeAll();
  }
  return { ...answer, answeredSync, promises };
}

async function runReadOnly(question: ConformanceQuestion): Promise<ConformanceAnswer> {
  const graph = new Graph(context);
  const expected = new Uint8Array(await (await fetch(question.image)).arrayBuffer());
  const file =
    question.subject === 'blob'
      ? { driver: 'blob', blob: new File([expected], 'a.img'), 'cache-size': '512K' }
      : { driver: 'http', url: question.image, 'cache-size': '512K' };
  const node = await openGraph(graph, { driver: 'raw', file });
  const failed: string[] = [];
  await checkReadOnly(node, expected, SEED).catch((error: unknown) => failed.push(String(error)));
  const [stats] = graph.nodes.map(nodeStats);
  await graph.closeAll();
  const { answeredSync = 0, promises = 0 } = stats ?? {};
  return {
    passed: failed.length === 0 ? [question.subject] : [],
    skipped: [],
    failed,
    answeredSync,
    promises,
  };
}

self.onmessage = ({ data }: MessageEvent<ConformanceQuestion>): void => {
  // The loop sleeps in `waitAsync` for as long as this is under way.
  const readOnly = data.subject === 'http' || data.subject === 'blob';
  const work = readOnly ? runReadOnly(data) : runWritable(data);
  void context
    .track(work)
    .catch((error: unknown) => ({ passed: [], skipped: [], failed: [String(error)] }))
    .then((answer) => {
      self.postMessage(answer);
      context.stop();
    });
  void context.run();
};
