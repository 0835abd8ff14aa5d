// Letting go of all images and taking them up again, with the locks of the opfs driver.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EPERM, OK } from '../base/ret.ts';
import { OpfsDouble } from '../testing/opfs-double.ts';
import { testContext } from '../testing/test-context.ts';
import type { BlockBackend } from './block-backend.ts';
import { createImage } from './create.ts';
import { Graph } from './graph.ts';
import { activateAll, inactivateAll } from './inactivate.ts';
import { openGraph } from './open.ts';
import { opfsDriver } from './protocols/opfs.ts';
import { nodeInfo } from './query.ts';
import { registerDriver } from './registry.ts';
import { reopenNodes } from './reopen.ts';

const SIZE = 1 << 20;

let storage: OpfsDouble;
let graph: Graph;
let disk: BlockBackend;

const file = (path: string, node: string): Record<string, unknown> => ({
  driver: 'opfs-double',
  'node-name': node,
  path,
});

/** A qcow2 overlay over a raw base, a disk in memory beside them, and a device on the overlay. */
beforeEach(async () => {
  storage = new OpfsDouble();
  registerDriver('opfs-double', async () => ({
    driver: { ...opfsDriver(storage), name: 'opfs-double' },
  }));
  // A lock is waited for for a second, which is a twentieth here.
  graph = new Graph(testContext(1, 20));
  await createImage(graph, { driver: 'raw', size: SIZE, file: { driver: 'opfs-double', path: 'base' } }); // prettier-ignore
  await createImage(graph, { driver: 'qcow2', size: SIZE, file: { driver: 'opfs-double', path: 'top' } }); // prettier-ignore
  await openGraph(graph, {
    driver: 'qcow2',
    'node-name': 'top',
    'lazy-refcounts': true,
    file: { ...file('top', 'top-file'), create: true },
    backing: { driver: 'raw', 'node-name': 'base', file: file('base', 'base-file') },
  });
  disk = graph.newBackend({ name: 'disk', nodeName: 'top' });
  disk.user = { pause: async () => {}, resume: () => {}, takeAway: () => ({ user: {}, transfer: [] }) }; // prettier-ignore
  await openGraph(graph, { driver: 'memory', 'node-name': 'ram', size: SIZE });
});

afterEach(async () => {
  await graph.closeAll();
  expect(storage.openHandles).toBe(0);
});

function write(to: BlockBackend, value: number): unknown {
  return to.pwritev(512 * value, IOVector.of(new Uint8Array(512).fill(value)));
}
async function read(from: BlockBackend, value: number): Promise<number> {
  const buffer = new Uint8Array(512);
  expect(await from.preadv(512 * value, IOVector.of(buffer))).toBe(OK);
  return buffer[0]!;
}

it('lets go of every file, refuses requests meanwhile, and goes on where it was', async () => {
  const ram = graph.newBackend({ name: 'ram', nodeName: 'ram' });
  ram.user = disk.user!;
  expect(await write(ram, 7)).toBe(OK);
  expect(await write(disk, 3)).toBe(OK);
  const running = read(disk, 3);
  await inactivateAll(graph);
  expect(await running).toBe(3);
  expect(storage.openHandles).toBe(0);
  expect(graph.nodes.map((node) => nodeInfo(node).info['inactive'])).toEqual(graph.nodes.map(() => true)); // prettier-ignore
  expect(await write(disk, 4)).toBe(-EPERM);
  expect(await disk.preadv(0, IOVector.of(new Uint8Array(512)))).toBe(-EPERM);
  expect(await disk.flush()).toBe(OK);

  // Somebody else has them now, and what was written was flushed.
  const other = new Graph(testContext());
  const overlay = { driver: 'qcow2', 'node-name': 'top', file: file('top', 'f'), backing: null };
  await openGraph(other, overlay);
  const theirs = other.newBackend({ name: 'theirs', nodeName: 'top' });
  expect(await read(theirs, 3)).toBe(3);
  expect(await write(theirs, 5)).toBe(OK);
  await expect(activateAll(graph)).rejects.toThrow(/'top-file'.*in use/s);
  expect(storage.openHandles).toBe(1);
  expect(await write(disk, 4)).toBe(-EPERM);
  await other.closeAll();

  await activateAll(graph);
  expect([await read(disk, 3), await read(disk, 5), await read(ram, 7)]).toEqual([3, 5, 7]);
  expect(await write(disk, 4)).toBe(OK);
  expect(graph.nodes.some((node) => node.quiescence.count > 0 || graph.isMoving(node))).toBe(false);
});

it('leaves everything open where the flush fails, a job runs, or a check', async () => {
  expect(await write(disk, 1)).toBe(OK);
  storage.failures.push({ call: 'flush', name: 'UnknownError' });
  await expect(inactivateAll(graph)).rejects.toThrow(/flush of node 'top'.*inactive/);
  const job = graph.newBackend({ name: 'copying', nodeName: 'ram' });
  await expect(inactivateAll(graph)).rejects.toMatchObject({ code: 'EBUSY', message: /copying/ });
  await graph.closeBackend(job);
  expect(await write(disk, 2)).toBe(OK);
  expect([await read(disk, 1), await read(disk, 2)]).toEqual([1, 2]);
});

it('does not make anew a file that is gone, and takes a second call for the first', async () => {
  await inactivateAll(graph);
  await inactivateAll(graph);
  await expect(reopenNodes(graph, [{ 'node-name': 'top', 'read-only': true }])).rejects.toThrow(
    /node 'top' is inactive/,
  );
  const top = storage.files.get('top')!;
  storage.files.delete('top');
  await expect(activateAll(graph)).rejects.toThrow(/'top-file'.*no such file/s);
  expect(storage.files.has('top')).toBe(false);
  storage.files.set('top', top);
  await activateAll(graph);
  await activateAll(graph);
  expect(await write(disk, 2)).toBe(OK);
  expect(await read(disk, 2)).toBe(2);
});
