// Moving graphs between two contexts. What crosses is structured-cloned, as between threads.

import { describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EIO } from '../base/ret.ts';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import type { BlockBackend } from './block-backend.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { Graph } from './graph.ts';
import { detachGraph } from './move.ts';
import { attachGraph, prepareAttach } from './move-attach.ts';
import type { MovedGraph } from './move.ts';
import { openGraph } from './open.ts';
import { registerDriver } from './registry.ts';

/** What happened to nodes, in order: `detach top`, `attach base`. */
const log: string[] = [];
/** Names of nodes whose next open fails, and whose next flush does. */
const refuse = new Set<string>();
const states = new Map<string, ControllableState>();

/** A driver that records when it is opened and closed, with any number of children. */
function recording(kind: 'protocol' | 'format'): BlockDriver<Record<string, unknown>> {
  return {
    name: `recording-${kind}`,
    kind,
    parseOptions: (raw) => raw,
    async open(context, options) {
      for (const role of ['file', 'backing'] as const) {
        if (options[role] !== undefined) await context.openChild(role, options[role]);
      }
      if (refuse.delete(context.nodeName)) throw new BlockError('EACCES', 'refused by the test');
      log.push(`attach ${context.nodeName}`);
      const state = new ControllableState((context.carried as Uint8Array | undefined) ?? 4096);
      states.set(context.nodeName, state);
      return Object.assign(state, {
        carry: () => ({ data: state.bytes, transfer: [state.bytes.buffer as ArrayBuffer] }),
        close: async () => {
          if (state.closes++ === 0) log.push(`detach ${context.nodeName}`);
        },
      });
    },
  };
}

const CHAIN = {
  driver: 'recording-format',
  'node-name': 'top',
  file: { driver: 'recording-protocol', 'node-name': 'overlay' },
  backing: {
    driver: 'recording-format',
    'node-name': 'middle',
    file: { driver: 'recording-protocol', 'node-name': 'base' },
  },
};

const EDGES = [
  ['top', 'overlay'],
  ['top', 'middle'],
  ['middle', 'base'],
] as const;

function graphs(): readonly [Graph, Graph] {
  for (const kind of ['protocol', 'format'] as const) {
    registerDriver(`recording-${kind}`, { kind, load: async () => ({ driver: recording(kind) }) });
  }
  log.length = 0;
  refuse.clear();
  states.clear();
  return [new Graph(testContext()), new Graph(testContext())];
}

/** A user that can move; `calls` says what was asked of it. */
function give(backend: BlockBackend, calls: string[]): void {
  backend.user = {
    pause: async () => void calls.push('pause'),
    resume: () => void calls.push('resume'),
    takeAway: () => (calls.push('takeAway'), { user: { made: backend.name }, transfer: [] }),
  };
}

function cross(moved: MovedGraph): MovedGraph {
  return structuredClone(moved, { transfer: [...moved.transfer] });
}

describe('a move', () => {
  it('detaches parents before children and attaches children before parents', async () => {
    const [here, there] = graphs();
    await openGraph(here, CHAIN);
    log.length = 0;
    const moved = cross(await detachGraph(here, 'middle'));
    expect(log.length).toBe(4);
    for (const [parent, child] of EDGES) {
      expect(log.indexOf(`detach ${parent}`)).toBeLessThan(log.indexOf(`detach ${child}`));
    }
    expect(here.nodes).toEqual([]);
    log.length = 0;
    expect(await attachGraph(there, moved, { adopt: () => {} })).toBeUndefined();
    expect(log.length).toBe(4);
    for (const [parent, child] of EDGES) {
      expect(log.indexOf(`attach ${child}`)).toBeLessThan(log.indexOf(`attach ${parent}`));
    }
    const top = there.get('top');
    expect(top.children.map((edge) => [edge.role, edge.node.name, edge.writable])).toEqual([
      ['file', 'overlay', true],
      ['backing', 'middle', false],
    ]);
    expect(there.get('middle').readOnly).toBe(true);
    await there.blockdevDel('top');
    expect(there.nodes).toEqual([]);
  });

  it('takes along what a node carries, its counts, and its backends', async () => {
    const [here, there] = graphs();
    await openGraph(here, { driver: 'recording-protocol', 'node-name': 'disk' });
    const calls: string[] = [];
    const backend = here.newBackend({ name: 'vda', nodeName: 'disk', enableWriteCache: false });
    give(backend, calls);
    expect(await backend.pwritev(512, IOVector.of(new Uint8Array(512).fill(7)))).toBe(0);
    const moved = cross(await detachGraph(here, 'disk'));
    expect(calls).toEqual(['pause', 'takeAway']);
    const adopted: unknown[] = [];
    await attachGraph(there, moved, {
      adopt: (made, user) => void adopted.push([made.name, made.enableWriteCache, user]),
    });
    expect(adopted).toEqual([['vda', false, { made: 'vda' }]]);
    const read = new Uint8Array(1024);
    expect(await there.get('disk').preadv(0, IOVector.of(read))).toBe(0);
    expect([read[511], read[512], read[1023]]).toEqual([0, 7, 7]);
    expect(there.get('disk').stats.wrOperations).toBe(1);
    expect(there.backends[0]!.stats.wrBytes).toBe(512);
  });

  it('takes along how a node caches and what it does with zeroes, and syncs what no flush did', async () => {
    const [here, there] = graphs();
    const file = { driver: 'recording-protocol', 'node-name': 'file', 'cache.direct': true };
    const top = { driver: 'recording-format', 'node-name': 'top', 'detect-zeroes': 'unmap', file };
    await openGraph(here, { ...top, 'cache.no-flush': true });
    const settings = ['top', 'file'].map((name) => here.get(name).settings);
    await here.get('file').pwritev(0, IOVector.of(new Uint8Array(512).fill(1)));
    expect(await here.get('top').flush()).toBe(0);
    expect(states.get('file')!.counts.flush).toBe(0);
    const moved = cross(await detachGraph(here, 'top'));
    expect(states.get('file')!.counts.flush).toBe(1);
    expect(await attachGraph(there, moved, { adopt: () => {} })).toBeUndefined();
    expect(['top', 'file'].map((name) => there.get(name).settings)).toEqual(settings);
    expect(settings).toMatchObject([
      { detectZeroes: 'unmap', cacheDirect: false, cacheNoFlush: true },
      { detectZeroes: 'off', cacheDirect: true, cacheNoFlush: true },
    ]);
  });

  it('waits for what is in flight, and keeps others out meanwhile', async () => {
    const [here] = graphs();
    await openGraph(here, CHAIN);
    const overlay = states.get('overlay')!;
    overlay.mode = 'held';
    const write = here.get('overlay').pwritev(0, IOVector.of(new Uint8Array(512).fill(1)));
    let over = false;
    const move = detachGraph(here, 'top').finally(() => (over = true));
    for (let i = 0; i < 20; i++) await Promise.resolve();
    expect(over).toBe(false);
    await expect(detachGraph(here, 'base')).rejects.toThrow('is being moved already');
    expect(() => here.newBackend({ name: 'late', nodeName: 'top' })).toThrow('is being moved');
    await expect(here.blockdevDel('top')).rejects.toMatchObject({ code: 'EBUSY' });
    overlay.mode = 'sync';
    await overlay.releaseAll();
    const moved = await move;
    expect(await write).toBe(0);
    const carried = moved.nodes.find((node) => node.nodeName === 'overlay')!.carried;
    expect((carried as Uint8Array)[0]).toBe(1);
  });

  it('is refused while somebody who cannot move holds a node', async () => {
    const [here] = graphs();
    await openGraph(here, CHAIN);
    here.newBackend({ name: 'job', nodeName: 'base', readOnly: true });
    await expect(detachGraph(here, 'top')).rejects.toMatchObject({
      code: 'EBUSY',
      message: "node 'top' cannot be moved: node 'base' is in use by backend 'job'",
    });
    expect(here.nodes.every((node) => node.quiescence.count === 0)).toBe(true);
  });

  it('is refused while a node is held still, as for a check', async () => {
    const [here] = graphs();
    await openGraph(here, CHAIN);
    await here.get('overlay').whileDrained(async () => {
      await expect(detachGraph(here, 'base')).rejects.toMatchObject({ code: 'EBUSY' });
    });
    expect((await detachGraph(here, 'base')).nodes).toHaveLength(4);
  });

  it('that cannot flush leaves all of it where it was', async () => {
    const [here] = graphs();
    await openGraph(here, CHAIN);
    const calls: string[] = [];
    give(here.newBackend({ name: 'vda', nodeName: 'top' }), calls);
    await here.get('overlay').pwritev(0, IOVector.of(new Uint8Array(512)));
    states.get('overlay')!.failAt('flush', 1, -EIO);
    await expect(detachGraph(here, 'top')).rejects.toMatchObject({ code: 'EIO' });
    expect(calls).toEqual(['pause', 'resume']);
    expect(log.filter((line) => line.startsWith('detach'))).toEqual([]);
    expect(await here.get('top').pwritev(0, IOVector.of(new Uint8Array(512)))).toBe(0);
    expect(here.nodes.every((node) => node.quiescence.count === 0)).toBe(true);
  });

  it.each(['base', 'middle', 'overlay', 'top'])(
    'whose attach fails at %s comes back and works',
    async (failing) => {
      const [here, there] = graphs();
      await openGraph(here, CHAIN);
      const calls: string[] = [];
      give(here.newBackend({ name: 'vda', nodeName: 'top' }), calls);
      await here.get('overlay').pwritev(0, IOVector.of(new Uint8Array(512).fill(9)));
      const moved = cross(await detachGraph(here, 'top'));
      refuse.add(failing);
      const failure = await attachGraph(there, moved, { adopt: () => {} });
      expect(failure?.error).toMatchObject({ code: 'EACCES' });
      expect([there.nodes, there.backends]).toEqual([[], []]);
      const back = cross(failure!.moved);
      expect(await attachGraph(here, back, { adopt: () => {} })).toBeUndefined();
      const read = new Uint8Array(512);
      expect(await here.get('overlay').preadv(0, IOVector.of(read))).toBe(0);
      expect(read[0]).toBe(9);
      expect(here.backends.map(({ name }) => name)).toEqual(['vda']);
    },
  );

  it('whose user cannot be made comes back too', async () => {
    const [here, there] = graphs();
    await openGraph(here, CHAIN);
    give(here.newBackend({ name: 'vda', nodeName: 'top' }), []);
    const moved = cross(await detachGraph(here, 'top'));
    const adopt = (): void => {
      throw new BlockError('EINVAL', 'no such memory');
    };
    const failure = await attachGraph(there, moved, { adopt });
    expect(failure?.error.message).toBe('no such memory');
    expect([there.nodes, there.backends]).toEqual([[], []]);
    expect(await attachGraph(here, failure!.moved, { adopt: () => {} })).toBeUndefined();
  });

  it('is refused beforehand where a name is taken', async () => {
    const [here, there] = graphs();
    await openGraph(here, { driver: 'recording-protocol', 'node-name': 'disk' });
    await openGraph(there, { driver: 'recording-protocol', 'node-name': 'disk' });
    const nodes = here.nodes.map((node) => ({ nodeName: node.name, driver: node.driver }));
    await expect(prepareAttach(there, nodes)).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('keeps a memory disk as it is', async () => {
    const [here, there] = graphs();
    await openGraph(here, { driver: 'memory', size: 2 ** 30, 'node-name': 'disk' });
    const disk = here.get('disk');
    for (const at of [0, 4096, 5 * 2 ** 20, 2 ** 29 + 512]) {
      await disk.pwritev(at, IOVector.of(new Uint8Array(3000).fill(at % 251)));
    }
    await disk.pdiscard(4096, 4096);
    await attachGraph(there, cross(await detachGraph(here, 'disk')), { adopt: () => {} });
    const moved = there.get('disk');
    const read = new Uint8Array(3000);
    for (const at of [0, 5 * 2 ** 20, 2 ** 29 + 512]) {
      await moved.preadv(at, IOVector.of(read));
      expect(read.every((byte) => byte === at % 251)).toBe(true);
    }
    await moved.preadv(4096, IOVector.of(read));
    expect(read.every((byte) => byte === 0)).toBe(true);
    // A page that was free there is zeroed, not what another thread left in it.
    await moved.pwritev(2 ** 28, IOVector.of(new Uint8Array(1).fill(5)));
    await moved.preadv(2 ** 28, IOVector.of(read));
    expect(read.reduce((sum, byte) => sum + byte)).toBe(5);
  });

  it('leaves the disk the generation that it has while it is open', async () => {
    const [here, there] = graphs();
    const options = { driver: 'raw', file: { driver: 'memory', size: 65536, 'node-name': 'file' } };
    const { name } = await openGraph(here, options);
    await here.get(name).pwritev(0, IOVector.of(new Uint8Array(512).fill(1)));
    const saved = await here.get(name).generation();
    await attachGraph(there, cross(await detachGraph(here, 'file')), { adopt: () => {} });
    expect(await there.get(name).generation()).toBe(saved);
    // Not one that was ever another disk's, on either side.
    await attachGraph(here, cross(await detachGraph(there, 'file')), { adopt: () => {} });
    await here.get(name).pwritev(0, IOVector.of(new Uint8Array(512).fill(2)));
    expect(await here.get(name).generation()).not.toBe(saved);
  });

  it('needs no second flush of what was flushed for it', async () => {
    const [here, there] = graphs();
    await openGraph(here, { driver: 'recording-protocol', 'node-name': 'disk' });
    await here.get('disk').pwritev(0, IOVector.of(new Uint8Array(512)));
    await attachGraph(there, cross(await detachGraph(here, 'disk')), { adopt: () => {} });
    const flushes = states.get('disk')!.counts.flush;
    expect(await there.get('disk').flush()).toBe(0);
    expect(states.get('disk')!.counts.flush).toBe(flushes);
    await there.get('disk').pwritev(0, IOVector.of(new Uint8Array(512)));
    expect(await there.get('disk').flush()).toBe(0);
    expect(states.get('disk')!.counts.flush).toBe(flushes + 1);
  });

  it('keeps the guard of an image that was taken for raw', async () => {
    const [here, there] = graphs();
    await openGraph(here, { file: { driver: 'memory', size: 65536, 'node-name': 'file' } });
    const name = here.nodes.find((node) => node.driver === 'raw')!.name;
    await attachGraph(there, cross(await detachGraph(here, 'file')), { adopt: () => {} });
    const qcow2 = new Uint8Array(512);
    qcow2.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
    expect(await there.get(name).pwritev(0, IOVector.of(qcow2))).toBe(-1);
  });
});
