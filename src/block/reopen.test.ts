// Reopening: a transaction over several nodes. Random graphs, random requests, and openings that fail at any
// place: then everything - options, children, contents, locks - is as before, and requests go on.

import { expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { OK } from '../base/ret.ts';
import { Prng } from '../testing/prng.ts';
import { testContext } from '../testing/test-context.ts';
import type { BlockBackend } from './block-backend.ts';
import { ANY_RANGE } from './block-driver.ts';
import type { BlockDriver, DriverState, Leaving } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { createImage } from './create.ts';
import { Graph } from './graph.ts';
import { openGraph } from './open.ts';
import { nodeInfo } from './query.ts';
import { registerDriver } from './registry.ts';
import { reopenNodes } from './reopen.ts';

const SIZE = 64 * 1024;

/** Storage with locks: one writer, or readers. */
class Vault {
  readonly bytes = new Uint8Array(SIZE);
  /** Who holds it for writing. */
  writer: VaultState | undefined;
  readers = 0;
  /** How often a writer let go of it. */
  freed = 0;

  get writers(): number {
    return this.writer === undefined ? 0 : 1;
  }
}
let vaults: Map<string, Vault>;
/** Openings until one fails; 0 for never. */
let failsIn = 0;

interface VaultOptions {
  readonly place: string;
  readonly speed: unknown;
}

const vaultDriver: BlockDriver<VaultOptions> = {
  name: 'vault',
  kind: 'protocol',
  parseOptions: (raw) => ({ place: raw['place'] as string, speed: raw['speed'] }),
  reopenable: ['speed'],
  open: async ({ nodeName, flags, takesOver }, { place, speed }) => {
    failsIn -= 1;
    if (failsIn === 0) throw new BlockError('EIO', `${nodeName} fails at ${String(speed)}`);
    const vault = vaults.get(place) ?? new Vault();
    vaults.set(place, vault);
    const held = vault.writers > 0 && takesOver !== true;
    if (held || (vault.readers > 0 && !flags.readOnly)) {
      throw new BlockError('EBUSY', `${place} is in use`);
    }
    return new VaultState(vault, flags.readOnly, speed);
  },
};

class VaultState implements DriverState {
  readonly length = SIZE;
  readonly limits = ANY_RANGE;
  readonly #vault: Vault;
  readonly #readOnly: boolean;
  readonly #speed: unknown;
  #closed = false;
  readonly leave?: () => Leaving;
  #left = false;

  constructor(vault: Vault, readOnly: boolean, speed: unknown) {
    this.#vault = vault;
    this.#readOnly = readOnly;
    this.#speed = speed;
    if (readOnly) vault.readers += 1;
    else {
      vault.writer = this;
      this.leave = () => {
        this.#left = true;
        return (takenOver) => takenOver || this.#letGo();
      };
    }
  }
  async preadv(offset: number, qiov: IOVector): Promise<number> {
    await Promise.resolve();
    expect(this.#closed).toBe(false);
    qiov.copyFrom(this.#vault.bytes, offset, 0, qiov.size);
    return OK;
  }
  async pwritev(offset: number, qiov: IOVector): Promise<number> {
    await Promise.resolve();
    expect([this.#closed, this.#readOnly]).toEqual([false, false]);
    qiov.copyTo(this.#vault.bytes, offset);
    return OK;
  }
  info(): Record<string, unknown> {
    return { speed: this.#speed };
  }
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#left) this.#letGo();
  }
  #letGo(): void {
    const vault = this.#vault;
    if (this.#readOnly) vault.readers -= 1;
    else if (vault.writer === this) {
      vault.writer = undefined;
      vault.freed += 1;
    }
  }
}

function newGraph(): Graph {
  vaults = new Map();
  failsIn = 0;
  registerDriver('vault', async () => ({ driver: vaultDriver }));
  return new Graph(testContext());
}

/** All that a reopen may change, and locks. */
function look(graph: Graph): unknown {
  const nodes = graph.nodes.map((node) => ({
    ...nodeInfo(node),
    options: node.options,
    settings: node.settings,
    count: node.quiescence.count,
  }));
  const locks = [...vaults].map(([name, { writers, readers }]) => ({ name, writers, readers }));
  return structuredClone({ nodes, locks });
}

async function fill(backend: BlockBackend, value: number): Promise<number> {
  return backend.pwritev(512 * value, IOVector.of(new Uint8Array(512).fill(value)));
}
async function peek(backend: BlockBackend, value: number): Promise<number> {
  const buffer = new Uint8Array(512);
  expect(await backend.preadv(512 * value, IOVector.of(buffer))).toBe(OK);
  return buffer[0]!;
}

/** Two to four chains of raw nodes over vaults; the first of each has a user. */
async function randomGraph(graph: Graph, prng: Prng): Promise<BlockBackend[]> {
  const backends: BlockBackend[] = [];
  for (let i = 0; i < 2 + prng.below(3); i++) {
    let options: Record<string, unknown> = {
      driver: 'vault',
      'node-name': `v${i}`,
      place: `p${i}`,
    };
    for (let depth = 0; depth < prng.below(3); depth++) {
      options = { driver: 'raw', 'node-name': `r${i}-${depth}`, file: options };
    }
    const root = await openGraph(graph, options);
    backends.push(graph.newBackend({ name: `b${i}`, nodeName: root.name }));
    // For others to take as their file.
    await openGraph(graph, { driver: 'vault', 'node-name': `spare${i}`, place: `s${i}` });
  }
  return backends;
}

function randomRequest(graph: Graph, prng: Prng): Record<string, unknown> {
  const node = prng.pick(graph.nodes);
  const request: Record<string, unknown> = { 'node-name': node.name };
  if (prng.chance(40)) request['read-only'] = prng.chance(50);
  if (prng.chance(30)) request['discard'] = prng.pick(['ignore', 'unmap']);
  if (prng.chance(30)) request['cache'] = { direct: prng.chance(50) };
  if (prng.chance(20)) request['cache.no-flush'] = prng.chance(50);
  if (prng.chance(20)) request['detect-zeroes'] = prng.pick(['on', 'off']);
  if (node.driver === 'vault' && prng.chance(50)) request['speed'] = prng.below(100);
  if (node.driver === 'raw' && prng.chance(40)) request['file'] = prng.pick(graph.nodes).name;
  return request;
}

it('is done everywhere, or leaves everything as it was, wherever it fails', async () => {
  let committed = 0;
  let rolledBack = 0;
  for (let seed = 0; seed < 150; seed++) {
    const prng = new Prng(seed);
    const graph = newGraph();
    const backends = await randomGraph(graph, prng);
    for (let round = 0; round < 4; round++) {
      for (const [i, backend] of backends.entries()) {
        if (!backend.root!.readOnly) expect(await fill(backend, i + 1)).toBe(OK);
      }
      const requests = new Map<unknown, Record<string, unknown>>();
      for (let i = 0; i < 1 + prng.below(3); i++) {
        const request = randomRequest(graph, prng);
        requests.set(request['node-name'], request);
      }
      const before = look(graph);
      const contents = new Map([...vaults].map(([name, { bytes }]) => [name, bytes.slice()]));
      failsIn = prng.chance(70) ? 1 + prng.below(3) : 0;
      // Under way and made meanwhile: none is lost, and none fails.
      const running = backends.map((backend) => peek(backend, 9));
      const reopening = reopenNodes(graph, [...requests.values()]);
      running.push(...backends.map((backend) => peek(backend, 9)));
      const error: unknown = await reopening.then(() => undefined, (cause: unknown) => cause); // prettier-ignore
      failsIn = 0;
      expect(await Promise.all(running)).toEqual(running.map(() => 0));
      if (error === undefined) {
        committed += 1;
        for (const request of requests.values()) checkDone(graph, request);
      } else {
        expect(error).toBeInstanceOf(BlockError);
        if ((error as BlockError).code === 'EIO') rolledBack += 1;
        expect([seed, look(graph)]).toEqual([seed, before]);
      }
      for (const [name, { bytes }] of vaults) {
        expect(Buffer.compare(bytes, contents.get(name)!), name).toBe(0);
      }
    }
    await graph.closeAll();
    for (const { writers, readers } of vaults.values()) expect([writers, readers]).toEqual([0, 0]);
  }
  expect([committed > 50, rolledBack > 50]).toEqual([true, true]);
});

function checkDone(graph: Graph, request: Record<string, unknown>): void {
  const node = graph.find(request['node-name'] as string);
  // Another of the requests took it from its last user.
  if (node === undefined) return;
  const { readOnly, settings, options } = node;
  if (request['read-only'] !== undefined) expect(readOnly).toBe(request['read-only']);
  if (request['discard'] !== undefined) expect(settings.discard).toBe(request['discard']);
  if (request['speed'] !== undefined) {
    expect(nodeInfo(node).info['speed']).toBe(request['speed']);
    expect(options['speed']).toBe(request['speed']);
  }
  if (request['file'] !== undefined) expect(node.children[0]!.node.name).toBe(request['file']);
  expect(node.quiescence.count).toBe(0);
  for (const edge of node.children) expect(edge.writable).toBe(!readOnly);
}

it('keeps the node lost that cannot be opened either way, and says so; a reopen brings it back', async () => {
  const graph = newGraph();
  await openGraph(graph, { driver: 'vault', 'node-name': 'v', place: 'p' });
  const backend = graph.newBackend({ name: 'b', nodeName: 'v' });
  let thefts = 0;
  registerDriver('vault', async () => ({
    driver: {
      ...vaultDriver,
      open: async () => {
        thefts += 1;
        throw new BlockError('EBUSY', 'another tab took it');
      },
    },
  }));
  const reopening = reopenNodes(graph, [{ 'node-name': 'v', speed: 1 }]);
  await expect(reopening).rejects.toThrow(/another tab took it.*node 'v' is lost/s);
  expect(thefts).toBe(2);
  expect(await fill(backend, 1)).toBe(-5);
  registerDriver('vault', async () => ({ driver: vaultDriver }));
  await reopenNodes(graph, [{ 'node-name': 'v', speed: 2 }]);
  expect(await fill(backend, 1)).toBe(OK);
  await graph.closeAll();
});

it.each([
  [{ 'node-name': 'nobody' }, /no node 'nobody'/],
  [{ 'read-only': true }, /node-name/],
  [{ 'node-name': 'v', place: 'q' }, /node 'v'.*'place'.*'speed'/],
  [{ 'node-name': 'v', driver: 'raw' }, /node 'v'.*driver 'vault'/],
  [{ 'node-name': 'r', file: null }, /node 'r'.*'file'/],
  [{ 'node-name': 'r', file: 'r' }, /node 'r'.*above it/],
  [{ 'node-name': 'v', 'read-only': true }, /node 'v'.*'read-only'.*node 'r'/],
  [{ 'node-name': 'r', file: 'w' }, /node 'w'.*node 's'/],
])('refuses %j before it touches anything', async (request, message) => {
  const graph = newGraph();
  const file = { driver: 'vault', 'node-name': 'v', place: 'p' };
  await openGraph(graph, { driver: 'raw', 'node-name': 'r', file });
  const other = { driver: 'vault', 'node-name': 'w', place: 'q' };
  await openGraph(graph, { driver: 'raw', 'node-name': 's', file: other });
  graph.newBackend({ name: 'vda', nodeName: 'r' });
  graph.newBackend({ name: 'vdb', nodeName: 's' });
  const before = look(graph);
  const states = graph.nodes.map(({ state }) => state);
  await expect(reopenNodes(graph, [request])).rejects.toThrow(message);
  expect(look(graph)).toEqual(before);
  // Identity: these are too large to print.
  expect(graph.nodes.every(({ state }, i) => state === states[i])).toBe(true);
  await graph.closeAll();
});

it('replaces and detaches the backing file of a qcow2 image, and closes what nobody wants', async () => {
  const graph = newGraph();
  for (const name of ['old', 'new']) {
    await openGraph(graph, { driver: 'vault', 'node-name': name, place: name });
    const backend = graph.newBackend({ name, nodeName: name });
    expect(await fill(backend, name === 'old' ? 1 : 2)).toBe(OK);
    await graph.closeBackend(backend);
  }
  const file = { driver: 'memory', 'node-name': 'm', size: 0 };
  await openGraph(graph, file);
  await createImage(graph, { driver: 'qcow2', file: 'm', size: SIZE });
  const overlay = { driver: 'qcow2', 'node-name': 'q', file: 'm', backing: 'old' };
  await openGraph(graph, overlay);
  const disk = graph.newBackend({ name: 'disk', nodeName: 'q' });
  await graph.blockdevDel('old').catch(() => {});
  expect([await peek(disk, 1), await peek(disk, 2)]).toEqual([1, 0]);
  await reopenNodes(graph, [{ 'node-name': 'q', backing: 'new', 'cache-size': '1M' }]);
  expect([await peek(disk, 1), await peek(disk, 2)]).toEqual([0, 2]);
  expect(graph.get('q').options).toMatchObject({ backing: 'new', 'cache-size': '1M' });
  await reopenNodes(graph, [{ 'node-name': 'q', backing: null }]);
  expect([await peek(disk, 1), await peek(disk, 2)]).toEqual([0, 0]);
  await graph.closeAll();
});

it('leaves a qcow2 image clean when it becomes read-only, its file too, and brings both back', async () => {
  const graph = newGraph();
  await createImage(graph, {
    driver: 'qcow2',
    size: SIZE,
    'lazy-refcounts': true,
    file: { driver: 'memory', 'node-name': 'm0' },
  }).catch(() => {});
  const file = { driver: 'memory', 'node-name': 'm', size: 0 };
  await openGraph(graph, file);
  await createImage(graph, { driver: 'qcow2', file: 'm', size: SIZE, 'lazy-refcounts': true });
  await openGraph(graph, { driver: 'qcow2', 'node-name': 'q', file: 'm' });
  const disk = graph.newBackend({ name: 'disk', nodeName: 'q' });
  expect(await fill(disk, 3)).toBe(OK);
  expect(nodeInfo(graph.get('q')).info['dirty']).toBe(true);
  await reopenNodes(graph, [
    { 'node-name': 'q', 'read-only': true },
    { 'node-name': 'm', 'read-only': true },
  ]);
  expect(nodeInfo(graph.get('q')).info['dirty']).toBe(false);
  expect(await fill(disk, 4)).toBe(-30);
  expect(await peek(disk, 3)).toBe(3);
  await reopenNodes(graph, [
    { 'node-name': 'm', 'read-only': false },
    { 'node-name': 'q', 'read-only': false },
  ]);
  expect(await fill(disk, 4)).toBe(OK);
  expect([await peek(disk, 3), await peek(disk, 4)]).toEqual([3, 4]);
  await graph.closeAll();
});

it('changes what nodes do about caches, zeroes, discards and sharing, and what follows from that below', async () => {
  const graph = newGraph();
  const file = { driver: 'memory', 'node-name': 'm', size: 65536 };
  await openGraph(graph, { driver: 'raw', 'node-name': 'r', file });
  const settings = (name: string): object => graph.get(name).settings;
  await reopenNodes(graph, [{ 'node-name': 'r', 'cache.direct': true, 'detect-zeroes': 'unmap' }]);
  expect(settings('r')).toMatchObject({ cacheDirect: true, detectZeroes: 'unmap' });
  expect(settings('m')).toMatchObject({ cacheDirect: true, detectZeroes: 'off' });
  await reopenNodes(graph, [{ 'node-name': 'r', cache: { 'no-flush': true } }]);
  expect(settings('r')).toMatchObject({ cacheDirect: true, cacheNoFlush: true });
  expect(settings('m')).toMatchObject({ cacheNoFlush: true });
  const bad = reopenNodes(graph, [{ 'node-name': 'r', discard: 'ignore' }]);
  await expect(bad).rejects.toThrow("'detect-zeroes'");
  const sharing = { 'node-name': 'r', 'force-share': true };
  await expect(reopenNodes(graph, [sharing])).rejects.toThrow("'force-share'");
  await reopenNodes(graph, [{ ...sharing, 'read-only': true }]);
  expect(settings('m')).toMatchObject({ forceShare: true });
  const again = { 'node-name': 'r', 'read-only': false };
  await expect(reopenNodes(graph, [again])).rejects.toThrow("'force-share'");
  await reopenNodes(graph, [{ ...again, 'force-share': false }]);
  expect(settings('m')).toMatchObject({ forceShare: false, cacheDirect: true });
  await graph.closeAll();
});

it('lets nobody have an image between two openings that want the same of it', async () => {
  const graph = newGraph();
  await openGraph(graph, { driver: 'vault', 'node-name': 'v', place: 'p' });
  const vault = vaults.get('p')!;
  await reopenNodes(graph, [{ 'node-name': 'v', speed: 2 }]);
  failsIn = 1;
  await expect(reopenNodes(graph, [{ 'node-name': 'v', speed: 3 }])).rejects.toThrow('fails at 3');
  expect([vault.writers, vault.freed]).toEqual([1, 0]);
  // Readers hold it in another way.
  await reopenNodes(graph, [{ 'node-name': 'v', 'read-only': true }]);
  expect([vault.writers, vault.readers, vault.freed]).toEqual([0, 1, 1]);
  await reopenNodes(graph, [{ 'node-name': 'v', 'read-only': false }]);
  await graph.closeAll();
  expect([vault.writers, vault.readers, vault.freed]).toEqual([0, 0, 2]);
});
