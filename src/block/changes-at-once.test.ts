// Changes of a graph that meet: a reset and a reopen, a move and a check, the end and all of these. Each was
// found by the simulation first.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { ENOMEDIUM, OK } from '../base/ret.ts';
import { testContext } from '../testing/test-context.ts';
import type { BlockBackend } from './block-backend.ts';
import { ANY_RANGE } from './block-driver.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { createImage, removeImage } from './create.ts';
import { whileAllDrained } from './drain.ts';
import { flushGraph } from './flush-all.ts';
import { Graph } from './graph.ts';
import { detachGraph } from './move.ts';
import { attachGraph } from './move-attach.ts';
import { openGraph } from './open.ts';
import { registerDriver } from './registry.ts';
import { reopenNodes } from './reopen.ts';

const SIZE = 64 * 1024;

/** A file of a shelf: every answer takes a while, and so does its end. */
interface Volume {
  bytes: Uint8Array;
  handles: number;
  reads: number;
}

let shelf: Map<string, Volume>;
let graph: Graph;

const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const shelfDriver: BlockDriver<{ readonly volume: string }> = {
  name: 'shelf',
  kind: 'protocol',
  parseOptions: (raw) => ({ volume: raw['volume'] as string }),
  open: async (_context, { volume }) => {
    const file = shelf.get(volume)!;
    file.handles += 1;
    return {
      get length() {
        return file.bytes.length;
      },
      limits: ANY_RANGE,
      preadv: async (offset, qiov) => {
        await later();
        file.reads += 1;
        qiov.copyFrom(file.bytes, offset, 0, qiov.size);
        return OK;
      },
      pwritev: async (offset, qiov) => {
        await later();
        qiov.copyTo(file.bytes.subarray(offset), 0);
        return OK;
      },
      flush: async () => {
        await later();
        return OK;
      },
      truncate: async (length) => {
        const bytes = new Uint8Array(length);
        bytes.set(file.bytes.subarray(0, length));
        file.bytes = bytes;
        return OK;
      },
      close: async () => {
        await later();
        file.handles -= 1;
      },
    };
  },
  create: async (_context, _size, raw) => put(raw['volume'] as string, 0, 0),
  remove: async (_context, raw) => {
    const name = raw['volume'] as string;
    if (shelf.get(name)!.handles > 0) throw new BlockError('EBUSY', `'${name}' is open`);
    shelf.delete(name);
  },
};

function put(name: string, length: number, value: number): void {
  shelf.set(name, { bytes: new Uint8Array(length).fill(value), handles: 0, reads: 0 });
}

const OVERLAY = {
  driver: 'qcow2',
  'node-name': 'disk',
  file: { driver: 'shelf', 'node-name': 'file', volume: 'top' },
  backing: {
    driver: 'raw',
    'node-name': 'base',
    'read-only': true,
    file: { driver: 'shelf', volume: 'one' },
  },
};

beforeEach(() => {
  shelf = new Map();
  registerDriver('shelf', async () => ({ driver: shelfDriver }));
  graph = new Graph(testContext());
  put('one', SIZE, 1);
  put('two', SIZE, 2);
});

afterEach(async () => {
  await graph.closeAll();
  for (const { handles } of shelf.values()) expect(handles).toBe(0);
});

/** An overlay with a user that can move. */
async function overlay(): Promise<BlockBackend> {
  const file = { driver: 'shelf', volume: 'top' };
  await createImage(graph, { driver: 'qcow2', size: SIZE, file, cluster_size: 4096 });
  await openGraph(graph, OVERLAY);
  const backend = graph.newBackend({ name: 'vda', nodeName: 'disk' });
  adopt(backend);
  return backend;
}
function adopt(backend: BlockBackend): void {
  backend.user = {
    pause: () => backend.whenIdle(),
    resume: () => {},
    takeAway: () => ({ user: null, transfer: [] }),
  };
}

async function write(backend: BlockBackend, value: number): Promise<number> {
  return backend.pwritev(0, IOVector.of(new Uint8Array(512).fill(value)));
}
async function read(backend: BlockBackend): Promise<number> {
  const bytes = new Uint8Array(512);
  const ret = await backend.preadv(0, IOVector.of(bytes));
  return ret < 0 ? ret : bytes[0]!;
}

it('resets what is open once a reopen is over, not what was open before', async () => {
  const backend = await overlay();
  expect(await write(backend, 7)).toBe(OK);
  const reopening = reopenNodes(graph, [{ 'node-name': 'disk', 'l2-cache-size': 0 }]);
  await later();
  const emptying = graph.get('disk').makeEmpty();
  await Promise.all([reopening, emptying]);
  expect(await read(backend)).toBe(1);
  expect(await write(backend, 8)).toBe(OK);
  expect(await read(backend)).toBe(8);
  expect(await graph.get('disk').check('none')).toMatchObject({ corruptions: 0, leaks: 0 });
});

it('moves away whenever a check comes, which hears of it', async () => {
  for (let turns = 0; turns < 12; turns++) {
    graph = new Graph(testContext());
    put('top', 0, 0);
    const backend = await overlay();
    expect(await write(backend, 7)).toBe(OK);
    const node = graph.get('disk');
    const moving = detachGraph(graph, 'disk');
    for (let i = 0; i < turns; i++) await later();
    const checking = node.check('none').catch((error: unknown) => error);
    expect((await moving).nodes, `${turns} turns`).toHaveLength(4);
    const found = await checking;
    if (found instanceof Error) expect(found).toMatchObject({ code: 'ENOMEDIUM' });
    else expect(found).toMatchObject({ corruptions: 0, checkErrors: 0 });
  }
});

it('moves away whenever all is flushed, which waits for what is on its way', async () => {
  for (let turns = 0; turns < 16; turns++) {
    graph = new Graph(testContext());
    put('top', 0, 0);
    const backend = await overlay();
    expect(await write(backend, 7)).toBe(OK);
    const moving = detachGraph(graph, 'disk');
    for (let i = 0; i < turns; i++) await later();
    await flushGraph(graph);
    expect((await moving).nodes, `${turns} turns`).toHaveLength(4);
  }
});

it('moves while it is read-only, and can be written again there', async () => {
  await overlay();
  await reopenNodes(graph, [{ 'node-name': 'disk', 'read-only': true }]);
  const moved = structuredClone(await detachGraph(graph, 'disk'));
  const there = new Graph(testContext());
  expect(await attachGraph(there, moved, { adopt })).toBeUndefined();
  const backend = there.backends[0]!;
  expect(await write(backend, 7)).toBeLessThan(0);
  await reopenNodes(there, [{ 'node-name': 'disk', 'read-only': false }]);
  expect(await write(backend, 7)).toBe(OK);
  await there.closeAll();
});

it('is all closed only when a move is over', async () => {
  await overlay();
  const moving = detachGraph(graph, 'disk');
  await graph.closeAll();
  const moved = structuredClone(await moving);
  expect([moved.nodes.length, graph.nodes, graph.backends]).toEqual([4, [], []]);
  const there = new Graph(testContext());
  const attaching = attachGraph(there, moved, { adopt });
  await there.closeAll();
  expect(await attaching).toBeUndefined();
  expect([there.nodes, there.backends]).toEqual([[], []]);
});

it('ends what waits for a drained section, which never reaches the node, with -ENOMEDIUM', async () => {
  const backend = await overlay();
  const { reads } = shelf.get('one')!;
  let waiting: Promise<number> | undefined;
  await whileAllDrained(graph, async () => {
    waiting = read(backend);
    await graph.dropBackend(backend);
    for (let i = 0; i < 10; i++) await later();
    expect(shelf.get('one')!.reads).toBe(reads);
  });
  expect(await waiting).toBe(-ENOMEDIUM);
});

it('answers what is in flight before all is closed, and -ENOMEDIUM from then on', async () => {
  const backend = await overlay();
  const order: string[] = [];
  const note = (what: string) => (ret: unknown) => void order.push(`${what} ${String(ret)}`);
  const inFlight = write(backend, 7).then(note('write'));
  const closing = graph.closeAll().then(note('closed'));
  const late = read(backend).then(note('read'));
  await Promise.all([inFlight, closing, late]);
  expect(order.indexOf('write 0')).toBeLessThan(order.indexOf('closed undefined'));
  expect(order).toContain(`read ${-ENOMEDIUM}`);
});

it('removes an image only when its last user has closed it', async () => {
  const file = { driver: 'shelf', 'node-name': 'f', volume: 'one' };
  await openGraph(graph, { driver: 'raw', 'node-name': 'r', file });
  const closing = graph.closeAll();
  await removeImage(graph, { driver: 'shelf', volume: 'one' });
  await closing;
  expect(shelf.has('one')).toBe(false);
});

it('counts as a change of a disk what changes below it', async () => {
  const backend = await overlay();
  const before = graph.get('disk').writeGeneration;
  const other = { driver: 'shelf', 'node-name': 'two', 'read-only': true, volume: 'two' };
  await openGraph(graph, other);
  await reopenNodes(graph, [{ 'node-name': 'base', file: 'two' }]);
  expect(await read(backend)).toBe(2);
  expect(graph.get('disk').writeGeneration).toBeGreaterThan(before);
});
