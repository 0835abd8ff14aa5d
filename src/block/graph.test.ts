// Who may use whom, and what is closed when.

import { describe, expect, it } from 'vitest';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import { IOVector } from '../base/io-vector.ts';
import { whileAllDrained } from './drain.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';
import { nodeInfo } from './query.ts';
import { backendInfo, nodeStats } from './query-stats.ts';
import { registerDriver } from './registry.ts';

const closed: string[] = [];

/** A protocol that notes when it is closed, and fails its flush when told to. */
function register(): void {
  const load = async (): Promise<{ driver: import('./block-driver.ts').BlockDriver }> => ({
    driver: {
      name: 'noting',
      kind: 'protocol',
      parseOptions: (raw) => raw,
      open: async (context, options) => {
        const state = new ControllableState(4096);
        if ('fail' in options) state.failAt('flush', 1, -28);
        state.close = async (): Promise<void> => void closed.push(context.nodeName);
        return state;
      },
    },
  });
  registerDriver('noting', load);
  registerDriver('keeping', { kind: 'format', load: async () => ({ driver: keeping }) });
}

/** A format, with whatever children it is given. */
const keeping: import('./block-driver.ts').BlockDriver<Record<string, unknown>> = {
  name: 'keeping',
  kind: 'format',
  parseOptions: (raw) => raw,
  open: async (context, options) => {
    for (const role of ['file', 'backing'] as const) {
      if (options[role] !== undefined) await context.openChild(role, options[role]);
    }
    return new ControllableState(4096);
  },
};

async function setup(): Promise<Graph> {
  register();
  closed.length = 0;
  const graph = new Graph(testContext());
  await openGraph(graph, { driver: 'noting', 'node-name': 'disk' });
  return graph;
}

describe('Graph', () => {
  it('does not delete a node in use, and names the user', async () => {
    const graph = await setup();
    await openGraph(graph, { driver: 'raw', 'node-name': 'top', file: 'disk' });
    await expect(graph.blockdevDel('disk')).rejects.toMatchObject({
      code: 'EBUSY',
      message: "node 'disk' is in use by node 'top' as 'file'",
    });
    const backend = graph.newBackend({ name: 'vda', nodeName: 'top' });
    await expect(graph.blockdevDel('top')).rejects.toThrow("in use by backend 'vda' as 'root'");
    await expect(graph.blockdevDel('none')).rejects.toMatchObject({ code: 'ENOENT' });
    await graph.closeBackend(backend);
    await graph.blockdevDel('top');
    expect(closed).toEqual([]);
    await graph.blockdevDel('disk');
    expect([closed, graph.nodes]).toEqual([['disk'], []]);
  });

  it('closes parents before children, and a shared child with its last parent', async () => {
    const graph = await setup();
    const file = { driver: 'noting', 'node-name': 'shared' };
    await openGraph(graph, { driver: 'raw', 'node-name': 'a', file }, { readOnly: true });
    await openGraph(graph, { driver: 'raw', 'node-name': 'b', file: 'shared' }, { readOnly: true });
    await graph.blockdevDel('a');
    expect(closed).toEqual([]);
    await graph.blockdevDel('b');
    expect(closed).toEqual(['shared']);
    await graph.closeAll();
    expect(closed).toEqual(['shared', 'disk']);
  });

  it('lets one format write, several backends share, and readers look', async () => {
    const graph = await setup();
    await openGraph(graph, { driver: 'keeping', 'node-name': 'a', file: 'disk' });
    const second = openGraph(graph, { driver: 'keeping', 'node-name': 'b', file: 'disk' });
    await expect(second).rejects.toMatchObject({
      code: 'EBUSY',
      node: 'disk',
      message:
        "node 'disk': node 'a' as 'file' needs 'write', which node 'b' as 'file' does not share. " +
        'Close one of the two, or open it read-only',
    });
    expect(() => graph.newBackend({ name: 'x', nodeName: 'disk' })).toThrow("which node 'a'");
    const looking = graph.newBackend({ name: 'look', nodeName: 'disk', readOnly: true });
    const pair = ['p', 'q'].map((name) => graph.newBackend({ name, nodeName: 'a' }));
    for (const backend of pair) {
      expect(backend.pwritev(0, IOVector.of(Uint8Array.of(1)))).toBe(0);
    }
    expect(looking.preadv(0, IOVector.of(new Uint8Array(1)))).toBe(0);
    expect(() => graph.newBackend({ name: 'p', nodeName: 'a' })).toThrow('already');
    await graph.closeAll();
    expect([graph.nodes, graph.backends, closed]).toEqual([[], [], ['disk']]);
  });

  it('keeps an overlay from its base being written, whichever comes first', async () => {
    const graph = await setup();
    const overlay = { driver: 'keeping', file: { driver: 'noting' }, backing: 'disk' };
    const writer = graph.newBackend({ name: 'w', nodeName: 'disk' });
    await expect(openGraph(graph, overlay)).rejects.toThrow("backend 'w' as 'root' needs 'write'");
    await graph.closeBackend(writer);
    const top = await openGraph(graph, overlay);
    expect(() => graph.newBackend({ name: 'w', nodeName: 'disk' })).toThrow(`node '${top.name}'`);
    expect(graph.backends).toEqual([]);
    await graph.closeAll();
  });

  it('closes all even when a flush fails, then says so', async () => {
    const graph = await setup();
    const file = { driver: 'noting', 'node-name': 'bad', fail: true };
    const top = await openGraph(graph, { driver: 'raw', 'node-name': 'top', file });
    expect(top.pwritev(0, IOVector.of(Uint8Array.of(1)))).toBe(0);
    await expect(graph.blockdevDel('top')).rejects.toMatchObject({ code: 'ENOSPC' });
    expect([closed, graph.find('top'), graph.find('bad')]).toEqual([['bad'], undefined, undefined]);
  });

  it('drains everything at once', async () => {
    const graph = await setup();
    await openGraph(graph, { driver: 'raw', 'node-name': 'top', file: 'disk' });
    const backend = graph.newBackend({ name: 'w', nodeName: 'top' });
    let answered = false;
    let request: Promise<unknown> = Promise.resolve();
    await whileAllDrained(graph, async () => {
      const ret = backend.pwritev(0, IOVector.of(Uint8Array.of(1)));
      request = Promise.resolve(ret).then(() => (answered = true));
      await Promise.resolve();
      expect([answered, backend.inFlight]).toEqual([false, 0]);
    });
    await request;
    expect(answered).toBe(true);
  });

  it('describes itself in plain data', async () => {
    const graph = await setup();
    await openGraph(graph, { driver: 'raw', 'node-name': 'top', file: 'disk' });
    const backend = graph.newBackend({ name: 'w', nodeName: 'top' });
    void backend.pwritev(0, IOVector.of(new Uint8Array(700)));
    const told = structuredClone([
      graph.nodes.map(nodeInfo),
      graph.nodes.map(nodeStats),
      graph.backends.map(backendInfo),
    ] as const);
    expect(told[0][1]).toMatchObject({
      nodeName: 'top', driver: 'raw', kind: 'format', readOnly: false, length: 4096,
      children: [{ role: 'file', nodeName: 'disk', writable: true }], users: ["backend 'w'"],
    }); // prettier-ignore
    for (const stats of told[1])
      expect(stats).toMatchObject({ writeOps: 1, writeBytes: 700, errors: 0 });
    expect(told[2][0]).toMatchObject({ name: 'w', nodeName: 'top', enableWriteCache: true });
  });
});
