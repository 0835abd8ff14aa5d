// Names and options, probing, read-only, creation, and that a failure leaves nothing open.

import { beforeAll, describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EPERM } from '../base/ret.ts';
import {
  failure, files, image, newGraph, opened, openNow, registerChainDrivers, shape, store,
} from '../testing/chain-drivers.ts'; // prettier-ignore
import { ControllableState } from '../testing/controllable.ts';
import { createImage } from './create.ts';
import { openGraph } from './open.ts';
import { registerDriver } from './registry.ts';

beforeAll(registerChainDrivers);

describe('options', () => {
  it('takes nested objects, dotted keys, names and json: for the same graph', async () => {
    const expected = ['memory rw ', 'raw rw file'];
    const forms = [
      { driver: 'raw', file: { driver: 'memory', size: '64K' } },
      { driver: 'raw', 'file.driver': 'memory', 'file.size': 65536 },
      { driver: 'raw', filename: 'memory:64K' },
      { driver: 'raw', file: 'memory:64K' },
      'json:{"driver":"raw","file":{"driver":"memory","size":65536}}',
      'memory:64K',
    ];
    for (const form of forms) {
      const graph = newGraph();
      const root = await openGraph(graph, form);
      expect([shape(graph), root.length]).toEqual([expected, 65536]);
      await graph.closeAll();
      expect(graph.nodes).toEqual([]);
    }
  });

  it('names unknown keys, bad values, bad names and missing drivers', async () => {
    const graph = newGraph();
    const cases = [
      [
        { driver: 'memory', sizes: 1, colour: 'red' },
        /EINVAL: memory: unknown option 'sizes', 'colour'/,
      ],
      [{ driver: 'memory', size: 'big' }, /EINVAL: memory: option 'size' must be .*"big"/],
      [{ driver: 'memory', 'read-only': 3 }, /EINVAL: memory: option 'read-only'/],
      [{ driver: 'vax' }, /EINVAL: unknown driver 'vax'; known: .*memory.*raw/],
      [{ driver: 'memory', 'node-name': '#x' }, /EINVAL: node-name '#x'/],
      [{ driver: 'memory', 'node-name': 'x'.repeat(32) }, /EINVAL: node-name/],
      [
        { file: { driver: 'memory' }, 'file.driver': 'null-co' },
        /EINVAL: option 'file.driver' is given twice/,
      ],
      [{ driver: 'raw' }, /EINVAL: node '#block000': option 'file' is missing/],
      [{ driver: 'raw', file: 'memory:', filename: 'memory:' }, /exclude each other/],
      [{ size: 3 }, /EINVAL: option 'driver' is missing/],
      ['gopher://x', /EINVAL: unknown protocol 'gopher'/],
      ['json:{', /EINVAL: 'json:\{' is not JSON/],
      ['json:[1]', /EINVAL: 'json:\[1\]' must hold an object/],
      ['a/local.img', /EINVAL: 'a\/local.img' names a local file/],
    ] as const;
    for (const [options, message] of cases) {
      expect(await failure(newGraph(), options)).toMatch(message);
    }
    expect(await failure(graph, { driver: 'raw', file: null })).toMatch(/'file' is missing/);
    const circular: Record<string, unknown> = { driver: 'raw' };
    circular['file'] = circular;
    expect(await failure(graph, circular)).toMatch(/EINVAL: options are nested/);
  });

  it('refuses a second node of one name, and makes names up', async () => {
    const graph = newGraph();
    await openGraph(graph, { driver: 'memory', 'node-name': 'm' });
    await expect(openGraph(graph, { driver: 'memory', 'node-name': 'm' })).rejects.toMatchObject({
      code: 'EEXIST',
    });
    const made = await openGraph(graph, 'memory:');
    expect(graph.nodes.map((node) => node.name)).toEqual(['m', '#block000', '#block001']);
    expect(made.name).toBe('#block001');
  });
});

describe('probing', () => {
  it('finds the format, raw for want of a better one, and passes the file on', async () => {
    const graph = newGraph({ 'a.img': image(''), 'b.img': new Uint8Array(4096) });
    await openGraph(graph, 'opfs:a.img');
    expect(shape(graph)).toEqual(['opfs rw ', 'chain rw file']);
    const notices: string[] = [];
    const raw = await openGraph(graph, 'opfs:b.img', {
      onNotice: (_n, text) => notices.push(text),
    });
    expect([raw.driver, raw.filename]).toEqual(['raw', 'opfs:b.img']);
    expect(notices.join()).toMatch(/taken as raw/);
  });

  it('refuses a head that makes a guessed raw image look like another format', async () => {
    const graph = newGraph({ 'b.img': new Uint8Array(4096).fill(1) });
    const raw = await openGraph(graph, 'opfs:b.img');
    const byte = (value: number): IOVector => IOVector.of(Uint8Array.of(value));
    expect(raw.pwritev(0, byte(0x43))).toBe(-EPERM);
    expect(raw.pwritev(0, IOVector.of(image('').subarray(0, 2048)))).toBe(-EPERM);
    expect(files.get('b.img')![0]).toBe(1);
    expect([raw.pwritev(1, byte(0x43)), raw.pwritev(0, byte(0x44)), raw.pwritev(512, byte(0x43))])
      .toEqual([0, 0, 0]); // prettier-ignore
    await graph.closeAll();
    const explicit = await openGraph(graph, { driver: 'raw', filename: 'opfs:b.img' });
    expect(explicit.pwritev(0, byte(0x43))).toBe(0);
  });

  it('says why an image cannot be read, and closes it', async () => {
    const graph = newGraph({ 'b.img': new Uint8Array(4096) });
    registerDriver('bad', () =>
      Promise.resolve({
        driver: {
          ...store,
          name: 'bad',
          async open() {
            const state = new ControllableState(4096);
            state.failAt('preadv', 1, -5);
            opened.push(state);
            return state;
          },
        },
      }),
    );
    expect(await failure(graph, { file: { driver: 'bad' } })).toMatch(
      /EIO: .*cannot read the image's start/,
    );
  });
});

describe('read-only', () => {
  it('comes down from above, and up from what cannot be written', async () => {
    const graph = newGraph({ 'a.img': image('') });
    await openGraph(graph, 'opfs:a.img', { readOnly: true });
    expect(shape(graph)).toEqual(['opfs ro ', 'chain ro file']);
    await graph.closeAll();
    const file = { driver: 'opfs', path: 'a.img', writable: false };
    await openGraph(graph, { driver: 'chain', file });
    expect(shape(graph)).toEqual(['opfs ro ', 'chain ro file']);
    await graph.closeAll();
    expect(await failure(graph, { driver: 'chain', 'read-only': false, file })).toMatch(
      /EROFS: node '.*' has 'read-only': false, but its file .* is read-only/,
    );
  });
});

describe('failures', () => {
  it('close all that was opened, whichever part fails', async () => {
    const graph = newGraph({ 'a.img': image(''), 'b.img': image('missing.img') });
    const base = { driver: 'opfs', path: 'a.img' };
    const cases = [
      [{ driver: 'chain', file: base, fail: true }, /EIO: .*driver 'chain': TypeError: a bug/],
      [{ driver: 'chain', file: base, backing: { driver: 'opfs', path: 'gone' } }, /ENOENT/],
      [{ driver: 'raw', file: base, offset: 1e6 }, /EINVAL: raw: offset 1000000/],
    ] as const;
    for (const [options, message] of cases) expect(await failure(graph, options)).toMatch(message);
    expect(await failure(graph, 'opfs:b.img', { policy: { drivers: ['opfs'] } })).toMatch(/ENOENT/);
    expect(opened.length).toBe(4);
  });

  it('stop at an abort', async () => {
    const graph = newGraph({ 'a.img': image('') });
    expect(await failure(graph, 'opfs:a.img', { signal: AbortSignal.abort('enough') })).toMatch(
      /ECANCELED: opening was aborted: enough/,
    );
  });
});

describe('createImage', () => {
  it('makes the file, then the format in it, and leaves nothing open', async () => {
    const graph = newGraph();
    const options = { driver: 'chain', 'file.driver': 'opfs', 'file.path': 'n.img', size: '8K' };
    await createImage(graph, { ...options, 'backing-file': 'b' });
    expect([graph.nodes.length, openNow(), files.get('n.img')]).toEqual([0, 0, new Uint8Array(0)]);
    expect([opened[0]!.bytes.length, opened[0]!.bytes[0], opened[0]!.counts.flush]).toEqual([
      8192, 0x43, 1,
    ]);
  });

  it('makes the format in an open node, and says what it cannot make', async () => {
    const graph = newGraph();
    const medium = await openGraph(graph, { driver: 'memory', 'node-name': 'm' });
    await createImage(graph, { driver: 'raw', file: 'm', size: 8192 });
    expect([medium.length, graph.nodes.length]).toEqual([8192, 1]);
    const cases = [
      [{ driver: 'raw', file: { driver: 'memory' }, size: 1 }, /'memory' cannot create a file/],
      [{ driver: 'null-co', size: 1 }, /'null-co' cannot create images/],
      [{ driver: 'raw', file: 'm' }, /option 'size' is missing/],
      [{ driver: 'raw', size: 1 }, /option 'file' \(or 'filename'\) is missing/],
      [{ driver: 'raw', file: 'm', size: 1, colour: 1 }, /unknown option 'colour'/],
    ] as const;
    for (const [options, message] of cases) {
      await expect(createImage(graph, options)).rejects.toThrow(message);
    }
    expect(medium.quiescence.parents.size).toBe(0);
  });
});
