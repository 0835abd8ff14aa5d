// qcow2 through the whole graph, over real files, with the real qemu-img on the other side: created
// here, opened through options, with the backing file that the header names.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IOVector } from '../../../base/io-vector.ts';
import { OK } from '../../../base/ret.ts';
import { Prng } from '../../../testing/prng.ts';
import { haveQemu, qemuImg, withTempDir } from '../../../testing/qemu.ts';
import { read } from '../../../testing/qcow2-images.ts';
import { testContext } from '../../../testing/test-context.ts';
import { Graph } from '../../graph.ts';
import { createImage } from '../../create.ts';
import { openGraph } from '../../open.ts';
import { registerDriver } from '../../registry.ts';

const MIB = 1024 * 1024;

describe('qcow2 in a graph', () => {
  it('is created, written and closed over a file, and qemu-img finds it good', async () => {
    await withTempDir(async (directory) => {
      registerDriver('file', () => import('../../protocols/file.ts'));
      const overlay = join(directory, 'overlay.qcow2');
      const base = join(directory, 'base.raw');
      const model = new Prng(11).bytes(4 * MIB);
      writeFileSync(base, model);
      const graph = new Graph(testContext());
      const file = { driver: 'file', filename: overlay };
      await createImage(graph, {
        driver: 'qcow2', size: 4 * MIB, file, 'backing-file': base, 'backing-fmt': 'raw',
      }); // prettier-ignore
      const backing = { driver: 'raw', file: { driver: 'file', filename: base } };
      const node = await openGraph(graph, { driver: 'qcow2', file, backing, 'node-name': 'disk' });
      expect(node.length).toBe(4 * MIB);
      const data = new Prng(12).bytes(300 * 512);
      expect(await node.pwritev(MIB - 512, IOVector.of(data))).toBe(OK);
      model.set(data, MIB - 512);
      expect(await node.pwriteZeroes(2 * MIB, 200_000 - (200_000 % 512))).toBe(OK);
      model.fill(0, 2 * MIB, 2 * MIB + 200_000 - (200_000 % 512));
      expect(await node.flush()).toBe(OK);
      expect(Buffer.compare(await read(node, 0, model.length), model)).toBe(0);
      await graph.blockdevDel('disk');
      if (!haveQemu()) return;
      const flat = join(directory, 'model.raw');
      writeFileSync(flat, model);
      const check = qemuImg('check', '-f', 'qcow2', overlay);
      expect(check.status, check.output).toBe(0);
      const compare = qemuImg('compare', '-f', 'qcow2', '-F', 'raw', overlay, flat);
      expect(compare.status, compare.output).toBe(0);
    });
  });
});
