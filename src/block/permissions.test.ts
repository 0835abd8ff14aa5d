// Permissions: the rules of each kind of child, and that whatever happens to a graph, nobody needs what another
// does not share, and what is refused has changed nothing.

import { describe, expect, it } from 'vitest';
import { ControllableState } from '../testing/controllable.ts';
import { Prng } from '../testing/prng.ts';
import { testContext } from '../testing/test-context.ts';
import type { BlockBackend } from './block-backend.ts';
import type { BlockChild } from './block-child.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';
import {
  PERM_ALL,
  PERM_CONSISTENT_READ,
  PERM_RESIZE,
  PERM_WRITE,
  PERM_WRITE_UNCHANGED,
  setPermissions,
} from './permissions.ts';
import type { Permissions } from './permissions.ts';
import { registerDriver } from './registry.ts';
import { reopenNodes } from './reopen.ts';

const READ = PERM_CONSISTENT_READ;
const UNCHANGED = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;

/** A driver that opens the children it is given: a format's, or a filter's one. */
function driverOf(name: string, kind: 'format' | 'filter'): BlockDriver<Record<string, unknown>> {
  return {
    name,
    kind,
    parseOptions: (raw) => raw,
    async open(context, options) {
      if (kind === 'filter') await context.openChild('filtered', options['file']);
      else if (options['file'] !== undefined) await context.openChild('file', options['file']);
      if (options['backing'] !== undefined) await context.openChild('backing', options['backing']);
      return new ControllableState(4096);
    },
  };
}

function newGraph(): Graph {
  registerDriver('keeping', { kind: 'format', load: async () => ({ driver: driverOf('keeping', 'format') }) }); // prettier-ignore
  registerDriver('passing', { kind: 'filter', load: async () => ({ driver: driverOf('passing', 'filter') }) }); // prettier-ignore
  return new Graph(testContext());
}

/** Who has what on every node, for comparing. */
function snapshot(graph: Graph): string[] {
  return graph.nodes.flatMap((node) =>
    [...node.quiescence.parents].map(
      ([edge, parent]) => `${node.name} ${parent.label} ${edge.role} ${edge.perm} ${edge.shared}`,
    ),
  );
}

/** Throws where somebody needs what another does not share. Nobody writes to what is read-only. */
function checkInvariant(graph: Graph, what: string): void {
  for (const node of graph.nodes) {
    const edges = [...node.quiescence.parents.keys()];
    const possible = node.readOnly ? PERM_CONSISTENT_READ : PERM_ALL;
    for (const edge of edges) {
      for (const other of edges) {
        if (edge === other || (edge.perm & possible & ~other.shared) === 0) continue;
        throw new Error(`${what}: '${node.name}': ${edge.perm} against ${other.shared}`);
      }
    }
  }
}

/** The edge by which `backend` holds its node. */
function edgeOf(backend: BlockBackend): BlockChild {
  const { parents } = backend.root!.quiescence;
  return [...parents].find(([, parent]) => parent === backend)![0];
}

const edgesOf = (graph: Graph, name: string): Record<string, Permissions> =>
  Object.fromEntries(
    graph.get(name).children.map(({ role, perm, shared }) => [role, { perm, shared }]),
  );

describe('permissions of children', () => {
  it('are what a format writes, what its base may not be, and what a filter is asked for', async () => {
    const graph = newGraph();
    const file = { driver: 'memory', size: 4096 };
    await openGraph(graph, { driver: 'keeping', 'node-name': 'top', file, backing: file });
    await openGraph(graph, { driver: 'passing', 'node-name': 'filter', file: 'top' });
    expect(edgesOf(graph, 'top')).toEqual({
      file: { perm: READ | PERM_WRITE | PERM_RESIZE, shared: UNCHANGED },
      backing: { perm: READ, shared: UNCHANGED },
    });
    expect(edgesOf(graph, 'filter')).toEqual({ filtered: { perm: 0, shared: PERM_ALL } });
    const backend = graph.newBackend({ name: 'vda', nodeName: 'filter' });
    const writes = READ | PERM_WRITE | PERM_RESIZE;
    expect(edgesOf(graph, 'filter')).toEqual({ filtered: { perm: writes, shared: UNCHANGED } });
    setPermissions(edgeOf(backend), { perm: READ, shared: READ });
    expect(edgesOf(graph, 'filter')).toEqual({ filtered: { perm: READ, shared: READ } });
    expect(() => graph.newBackend({ name: 'vdb', nodeName: 'top' })).toThrow(
      "node 'top': backend 'vdb' as 'root' needs 'write', which node 'filter' as 'filtered' does not share",
    );
    await graph.closeBackend(backend);
    expect(edgesOf(graph, 'filter')).toEqual({ filtered: { perm: 0, shared: PERM_ALL } });
    await graph.closeAll();
  });

  it('are read by a read-only format, which nobody else may write to either', async () => {
    const graph = newGraph();
    await openGraph(graph, { driver: 'memory', 'node-name': 'm', size: 4096 });
    const top = { driver: 'keeping', file: 'm', 'read-only': true };
    await openGraph(graph, top);
    await openGraph(graph, top);
    expect(() => graph.newBackend({ name: 'w', nodeName: 'm' })).toThrow("needs 'write'");
    await graph.closeAll();
  });

  it('of raw are those of a filter: one disk writes, by as many devices as it has', async () => {
    const graph = newGraph();
    await openGraph(graph, { driver: 'memory', 'node-name': 'm', size: 4096 });
    await openGraph(graph, { driver: 'raw', 'node-name': 'a', file: 'm' });
    await openGraph(graph, { driver: 'raw', 'node-name': 'b', file: 'm' });
    const pair = ['x', 'y'].map((name) => graph.newBackend({ name, nodeName: 'a' }));
    const refused = "node 'm': node 'a' as 'file' needs 'write', which node 'b' as 'file'";
    expect(() => graph.newBackend({ name: 'z', nodeName: 'b' })).toThrow(refused);
    for (const backend of pair) await graph.closeBackend(backend);
    graph.newBackend({ name: 'z', nodeName: 'b' });
    await graph.closeAll();
  });

  it('of copy-on-read write what changes nothing, which others let it', async () => {
    const graph = newGraph();
    const file = { driver: 'memory', 'node-name': 'm', size: 4096 };
    await openGraph(graph, { driver: 'copy-on-read', 'node-name': 'top', file });
    expect(edgesOf(graph, 'top')).toEqual({
      filtered: { perm: PERM_WRITE_UNCHANGED, shared: PERM_ALL },
    });
    await graph.closeAll();
  });

  it('are all shared by what is read with force-share', async () => {
    const graph = newGraph();
    const file = { driver: 'memory', 'node-name': 'm', size: 4096, 'read-only': true };
    await expect(
      openGraph(graph, { driver: 'keeping', file: { ...file, 'read-only': false, 'force-share': true } }),
    ).rejects.toMatchObject({ code: 'EINVAL' }); // prettier-ignore
    const top = {
      driver: 'keeping',
      'node-name': 'top',
      'read-only': true,
      'force-share': 'on',
      file,
    };
    await openGraph(graph, top);
    expect(graph.get('m').settings.forceShare).toBe(true);
    await graph.closeAll();
  });
});

/** One random change; true when it was refused. */
async function step(graph: Graph, prng: Prng, backends: BlockBackend[]): Promise<boolean> {
  const names = graph.nodes.map((node) => node.name);
  const permissions = { perm: prng.below(16), shared: prng.below(16) };
  const before = snapshot(graph);
  try {
    switch (prng.below(8)) {
      case 0: {
        const driver = prng.pick(['keeping', 'passing', 'raw']);
        const backing =
          driver === 'keeping' && prng.chance(50) ? { backing: prng.pick(names) } : {};
        const readOnly = prng.chance(40);
        await openGraph(graph, { driver, file: prng.pick(names), ...backing }, { readOnly });
        return false;
      }
      case 1: {
        const node = prng.pick(graph.nodes);
        if (node.name !== 'base') await graph.blockdevDel(node.name);
        return false;
      }
      case 2: {
        const [backend] = backends.splice(prng.below(backends.length + 1), 1);
        if (backend !== undefined) await graph.closeBackend(backend);
        return false;
      }
      case 3:
        if (backends.length > 0) setPermissions(edgeOf(prng.pick(backends)), permissions);
        return false;
      case 4:
      case 5: {
        const replaced = prng.chance(50) ? { file: prng.pick(names) } : {};
        const request = { 'node-name': prng.pick(names), 'read-only': prng.chance(50) };
        await reopenNodes(graph, [{ ...request, ...replaced }]);
        return false;
      }
      default: {
        const request = { name: `b${prng.next()}`, nodeName: prng.pick(names) };
        const own = prng.chance(70) ? { permissions } : {};
        backends.push(graph.newBackend({ ...request, ...own }));
        return false;
      }
    }
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    expect(['EBUSY', 'EROFS', 'EINVAL']).toContain(error.code);
    expect(snapshot(graph), error.message).toEqual(before);
    return true;
  }
}

describe('a graph that changes', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('never has two users at odds, seed %d', async (seed) => {
    const graph = newGraph();
    const prng = new Prng(seed);
    const backends: BlockBackend[] = [];
    await openGraph(graph, { driver: 'memory', 'node-name': 'base', size: 4096 });
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      if (await step(graph, prng, backends)) refused += 1;
      checkInvariant(graph, `step ${i}`);
    }
    expect(refused).toBeGreaterThan(10);
    expect(refused).toBeLessThan(140);
    // Nothing that was allowed for those who are gone is left.
    for (const backend of backends.splice(0)) await graph.closeBackend(backend);
    for (const node of graph.nodes) {
      for (const edge of node.children) {
        if (node.quiescence.parents.size > 0 || node.driver === 'keeping') continue;
        expect([edge.perm, edge.shared]).toEqual([0, PERM_ALL]);
      }
    }
    await graph.closeAll();
    expect(graph.nodes).toEqual([]);
  });
});
