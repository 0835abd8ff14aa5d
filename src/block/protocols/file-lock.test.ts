// Two writers of one file are impossible, two readers work: in one process, and between two.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { testContext } from '../../testing/test-context.ts';
import { createImage } from '../create.ts';
import { Graph } from '../graph.ts';
import { openGraph } from '../open.ts';
import { registerDriver } from '../registry.ts';
import { LOCK_DIRECTORY } from './file-lock.ts';

const folder = mkdtempSync(join(tmpdir(), 'diskplane-lock-'));
beforeAll(() => {
  registerDriver('file', () => import('./file.ts'));
  return () => rmSync(folder, { recursive: true });
});

let files = 0;
/** A new file and where its notes lie. */
function newFile(): { filename: string; notes: string } {
  const filename = join(folder, `${(files += 1)}.raw`);
  writeFileSync(filename, new Uint8Array(4096));
  const { dev, ino } = statSync(filename);
  return { filename, notes: join(tmpdir(), LOCK_DIRECTORY, `${dev}-${ino}`) };
}

const newGraph = (): Graph => new Graph(testContext());
const open = (graph: Graph, filename: string, extra: Record<string, unknown> = {}) =>
  openGraph(graph, { driver: 'file', filename, ...extra });

describe('a file', () => {
  it('has one writer or many readers, by whatever thread or name', async () => {
    const { filename, notes } = newFile();
    const [here, there] = [newGraph(), newGraph()];
    await open(here, filename);
    const busy = {
      code: 'EBUSY',
      message: expect.stringContaining('another disk of this process') as string,
    };
    await expect(open(there, filename)).rejects.toMatchObject(busy);
    await expect(open(there, filename, { 'read-only': true })).rejects.toMatchObject(busy);
    const peek = await open(there, filename, { 'read-only': true, 'force-share': true });
    expect(peek.state.info!()).toMatchObject({ lock: 'none' });
    await here.closeAll();
    await there.closeAll();
    for (const graph of [here, there]) await open(graph, filename, { 'read-only': true });
    await expect(open(newGraph(), filename)).rejects.toMatchObject({ code: 'EBUSY' });
    await here.closeAll();
    await there.closeAll();
    expect(existsSync(notes)).toBe(false);
  });

  it('is not made anew, nor removed, while somebody has it open', async () => {
    const { filename } = newFile();
    const graph = newGraph();
    await open(graph, filename, { 'read-only': true });
    const create = createImage(newGraph(), { driver: 'file', filename, size: 512 });
    await expect(create).rejects.toMatchObject({ code: 'EBUSY' });
    expect(statSync(filename).size).toBe(4096);
    await graph.closeAll();
  });

  it.skipIf(process.platform !== 'linux')(
    'is kept by another process, until that ends',
    async () => {
      const { filename, notes } = newFile();
      const program = `
      const fs = require('node:fs');
      const fd = fs.openSync(process.argv[1], 'r+');
      fs.mkdirSync(process.argv[2], { recursive: true });
      fs.writeFileSync(process.argv[2] + '/' + process.pid + '-' + fd + '-exclusive-0.0', '');
      console.log('ready');
      setInterval(() => {}, 1000);
    `;
      const child = spawn(process.execPath, ['-e', program, filename, notes], { stdio: 'pipe' });
      await once(child.stdout, 'data');
      const graph = newGraph();
      await expect(open(graph, filename)).rejects.toMatchObject({
        code: 'EBUSY',
        message: expect.stringContaining(`process ${child.pid} has it open`) as string,
      });
      child.kill('SIGKILL');
      await once(child, 'exit');
      await open(graph, filename);
      expect(readdirSync(notes)).toHaveLength(1);
      await graph.closeAll();
      expect(existsSync(notes)).toBe(false);
    },
  );
});
