// The file driver on real files of a temporary directory.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { IOVector } from '../../base/io-vector.ts';
import { MemoryRegion } from '../../base/memory-region.ts';
import { EIO, EROFS, OK } from '../../base/ret.ts';
import { openContext } from '../../testing/open-context.ts';
import { Prng } from '../../testing/prng.ts';
import { testContext } from '../../testing/test-context.ts';
import type { CreateContext, DriverState } from '../block-driver.ts';
import { driver } from './file.ts';

const SEED = 0xf11e;
const folder = mkdtempSync(join(tmpdir(), 'diskplane-file-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function open(raw: Record<string, unknown>, readOnly = false): Promise<DriverState> {
  return driver.open(openContext({ readOnly }), driver.parseOptions(raw));
}

describe('file', () => {
  it('agrees with a byte model through 500 random operations, all answered at once', async () => {
    const filename = join(folder, 'model.img');
    const size = 300_000;
    const state = await open({ filename, create: true, size });
    const random = new Prng(SEED);
    const model = new Uint8Array(size);
    const shared = new MemoryRegion(new Uint8Array(new SharedArrayBuffer(65536)));
    let hostCalls = 0;
    for (let step = 0; step < 500; step++) {
      const bytes = 2 + random.below(20000);
      const offset = random.below(size - bytes);
      // Two spans in every other case.
      const cut = 1 + random.below(bytes - 1);
      const spans = random.chance(50) ? [0, bytes] : [40000, cut, 100, bytes - cut];
      const qiov = new IOVector(shared, spans);
      const where = `seed ${SEED} step ${step}`;
      hostCalls += 1;
      if (random.chance(50)) {
        const data = random.bytes(bytes);
        qiov.copyFrom(data);
        model.set(data, offset);
        expect(state.pwritev!(offset, qiov, 0), where).toBe(OK);
      } else {
        expect(state.preadv(offset, qiov, 0), where).toBe(OK);
        const got = new Uint8Array(bytes);
        qiov.copyTo(got);
        const same = Buffer.compare(got, model.subarray(offset, offset + bytes)) === 0;
        expect(same, where).toBe(true);
      }
    }
    expect(state.flush!()).toBe(OK);
    const { hostReads, hostWrites, hostFlushes } = state.counters!();
    expect(hostReads! + hostWrites!).toBe(hostCalls);
    expect(hostFlushes).toBe(1);
    await state.close();
    expect(Buffer.compare(readFileSync(filename), model)).toBe(0);
  });

  it('opens read-only, resizes, and closes for good', async () => {
    const filename = join(folder, 'small.img');
    writeFileSync(filename, 'hello');
    const reader = await open({ filename }, true);
    expect(reader.length).toBe(5);
    expect(reader.pwritev!(0, IOVector.of(new Uint8Array(1)), 0)).toBe(-EROFS);
    await reader.close();
    await reader.close();
    expect(reader.preadv(0, IOVector.of(new Uint8Array(1)), 0)).toBe(-EIO);

    const writer = await open({ filename });
    expect(await writer.truncate!(512)).toBe(OK);
    expect(statSync(filename).size).toBe(512);
    await writer.close();
  });

  it('follows a link to a regular file', async () => {
    const filename = join(folder, 'link.img');
    symlinkSync(join(folder, 'small.img'), filename);
    await (await open({ filename })).close();
  });

  it.each([
    ['a missing file', 'none.img', 'ENOENT'],
    ['a missing folder', 'none/none.img', 'ENOENT'],
    ['a directory', '', 'EINVAL'],
    ['a device', '/dev/null', 'EINVAL'],
  ])('refuses %s', async (_name, name, code) => {
    const filename = name.startsWith('/') ? name : join(folder, name);
    await expect(open({ filename })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(filename) as string,
    });
  });

  it('refuses a pipe instead of waiting for its other end', async () => {
    const filename = join(folder, 'pipe');
    execFileSync('mkfifo', [filename]);
    await expect(open({ filename }, true)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it.each([
    [{}, /'filename'/],
    [{ filename: 'a\0b' }, /NUL/],
    [{ filename: 'a', size: 1 }, /'create'/],
    [{ filename: 'a', locking: 'on' }, /unknown option 'locking'/],
  ])('refuses the options %o', (raw, message) => {
    expect(() => driver.parseOptions(raw)).toThrow(message);
  });

  it('makes an image anew for createImage', async () => {
    const filename = join(folder, 'created.img');
    writeFileSync(filename, 'old contents');
    const context: CreateContext = {
      aioContext: testContext(),
      signal: undefined,
      file: undefined,
    };
    await driver.create!(context, 4096, { filename });
    expect(Buffer.compare(readFileSync(filename), Buffer.alloc(4096))).toBe(0);
    const readOnlyCreate = open({ filename, create: true }, true);
    await expect(readOnlyCreate).rejects.toMatchObject({ code: 'EINVAL' });
  });
});
