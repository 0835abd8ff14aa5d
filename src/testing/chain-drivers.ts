// Two small drivers for tests of opening: files by path, and a format whose images name another
// image. They take the names 'opfs' (so that file names reach it) and 'chain'.

import { IOVector } from '../base/io-vector.ts';
import { assert } from '../base/assert.ts';
import type { BlockDriver } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import { Graph } from '../block/graph.ts';
import { openGraph } from '../block/open.ts';
import type { OpenGraphOptions } from '../block/open.ts';
import { nodeInfo } from '../block/query.ts';
import { OptionReader } from '../block/option-reader.ts';
import { registerDriver } from '../block/registry.ts';
import { ControllableState } from './controllable.ts';
import { testContext } from './test-context.ts';

/** Contents of all files, by path. */
export const files: Map<string, Uint8Array> = new Map<string, Uint8Array>();
/** Every state that was opened since `newGraph`. */
export let opened: ControllableState[] = [];

/** How many of them are open. */
export const openNow = (): number => opened.filter((state) => state.closes === 0).length;

export const store: BlockDriver<{ path: string; writable: boolean }> = {
  name: 'opfs',
  kind: 'protocol',
  parseOptions(raw) {
    const reader = new OptionReader('opfs', raw);
    const path = reader.string('path') ?? '';
    const writable = reader.boolean('writable') ?? true;
    reader.end();
    return { path, writable };
  },
  async open({ flags, nodeName }, { path, writable }) {
    const bytes = files.get(path);
    if (bytes === undefined) throw new BlockError('ENOENT', `${nodeName}: no file '${path}'`);
    if (!writable && !flags.readOnly) throw new BlockError('EROFS', `'${path}' is not writable`);
    const state = new ControllableState(bytes);
    opened.push(state);
    return state;
  },
  async create(_context, size, raw) {
    files.set(String(raw['path']), new Uint8Array(size));
  },
};

/** `C`, length of a name, the name of the backing image. */
const chain: BlockDriver<{ file: unknown; backing: unknown; fail: boolean }> = {
  name: 'chain',
  kind: 'format',
  parseOptions(raw) {
    const reader = new OptionReader('chain', raw);
    const options = {
      file: reader.any('file'),
      backing: reader.any('backing'),
      fail: reader.boolean('fail') ?? false,
    };
    reader.end();
    return options;
  },
  probe: (head) => (head[0] === 0x43 ? 100 : 0),
  async open(context, { file, backing, fail }) {
    const edge = await context.openChild('file', file);
    const head = new Uint8Array(64);
    await edge.preadv(0, IOVector.of(head));
    const name = new TextDecoder().decode(head.subarray(2, 2 + head[1]!));
    if (backing !== undefined && backing !== null) await context.openChild('backing', backing);
    else if (backing === undefined && name !== '') {
      await context.openNamedInImage('backing', name, undefined);
    }
    if (fail) throw new TypeError('a bug in the driver');
    const state = new ControllableState(4096);
    opened.push(state);
    return state;
  },
  async create({ file }, size, raw) {
    const name = new OptionReader('chain', raw).string('backing-file') ?? '';
    assert((await file!.truncate(size)) === 0, 'truncate');
    assert((await file!.pwritev(0, IOVector.of(image(name).subarray(0, 64)))) === 0, 'write');
  },
};

/** A `chain` image that names `backing`, or nothing. */
export function image(backing: string): Uint8Array {
  const bytes = new Uint8Array(4096);
  bytes.set([0x43, backing.length, ...new TextEncoder().encode(backing)]);
  return bytes;
}

/** Puts both in the registry. */
export function registerChainDrivers(): void {
  registerDriver('opfs', { kind: 'protocol', load: () => Promise.resolve({ driver: store }) });
  registerDriver('chain', { kind: 'format', load: () => Promise.resolve({ driver: chain }) });
}

/** An empty graph, and these files only. */
export function newGraph(contents: Record<string, Uint8Array> = {}): Graph {
  files.clear();
  opened = [];
  for (const [name, bytes] of Object.entries(contents)) files.set(name, bytes);
  return new Graph(testContext());
}

/** The code and message of the error; checks that nothing stayed open. */
export async function failure(
  graph: Graph,
  options: string | Record<string, unknown>,
  extra: OpenGraphOptions = {},
): Promise<string> {
  try {
    await openGraph(graph, options, extra);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    assert(graph.nodes.length === 0, `open after a failure: ${shape(graph).join()}`);
    assert(openNow() === 0, `${openNow()} drivers are open after a failure`);
    return `${error.code}: ${error.message}`;
  }
  throw new Error('it opened');
}

/** `driver ro|rw roles of children` of every node. */
export const shape = (graph: Graph): string[] =>
  graph.nodes
    .map(nodeInfo)
    .map((n) => `${n.driver} ${n.readOnly ? 'ro' : 'rw'} ${n.children.map((c) => c.role).join()}`);
