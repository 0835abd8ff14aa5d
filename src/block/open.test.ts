// Names and options, probing, policy, read-only, and that a failure leaves nothing open.

import { beforeAll, describe, expect, it } from 'vitest';
import { IOVector } from '../base/io-vector.ts';
import { EPERM } from '../base/ret.ts';
import { ControllableState } from '../testing/controllable.ts';
import { testContext } from '../testing/test-context.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import { Graph } from './graph.ts';
import { createImage, openGraph } from './open.ts';
import type { OpenGraphOptions } from './open.ts';
import { OptionReader } from './option-reader.ts';
import { registerDriver } from './registry.ts';

/** Files of the 'store' protocol. Their first byte, 'C', makes them a chain image. */
const files = new Map<string, Uint8Array>();
let opened: ControllableState[] = [];
const openNow = (): number => opened.filter((state) => state.closes === 0).length;

const store: BlockDriver<{ path: string; writable: boolean }> = {
  name: 'opfs',
  kind: 'protocol',
  parseOptions(raw) {
    const reader = new OptionReader('opfs', raw);
    const path = reader.string('path') ?? '';
    const writable = reader.boolean('writable') ?? true;
    reader.end();
    return { path, writable };
  },
  async open({ flags, nodeName }, { path, writable }) {
    const bytes = files.get(path);
    if (bytes === undefined) throw new BlockError('ENOENT', `${nodeName}: no file '${path}'`);
    if (!writable && !flags.readOnly) throw new BlockError('EROFS', `'${path}' is not writable`);
    const state = new ControllableState(bytes);
    opened.push(state);
    return state;
  },
  async create(_context, size, raw) {
    files.set(String(raw['path']), new Uint8Array(size));
  },
};

/** `C`, length of a name, the name of the backing image. */
const chain: BlockDriver<{ file: unknown; backing: unknown; fail: boolean }> = {
  name: 'chain',
  kind: 'format',
  parseOptions(raw) {
    const reader = new OptionReader('chain', raw);
    const options = {
      file: reader.any('file'),
      backing: reader.any('backing'),
      fail: reader.boolean('fail') ?? false,
    };
    reader.end();
    return options;
  },
  probe: (head) => (head[0] === 0x43 ? 100 : 0),
  async open(context, { file, backing, fail }) {
    const edge = await context.openChild('file', file);
    const head = new Uint8Array(64);
    await edge.preadv(0, IOVector.of(head));
    const name = new TextDecoder().decode(head.subarray(2, 2 + head[1]!));
    if (backing !== undefined && backing !== null) await context.openChild('backing', backing);
    else if (backing === undefined && name !== '') {
      await context.openNamedInImage('backing', name, undefined);
    }
    if (fail) throw new TypeError('a bug in the driver');
    const state = new ControllableState(4096);
    opened.push(state);
    return state;
  },
  async create({ file }, size, raw) {
    const name = new OptionReader('chain', raw).string('backing-file') ?? '';
    expect(await file!.truncate(size)).toBe(0);
    expect(await file!.pwritev(0, IOVector.of(image(name).subarray(0, 64)))).toBe(0);
  },
};

function image(backing: string): Uint8Array {
  const bytes = new Uint8Array(4096);
  bytes.set([0x43, backing.length, ...new TextEncoder().encode(backing)]);
  return bytes;
}

beforeAll(() => {
  registerDriver('opfs', { kind: 'protocol', load: () => Promise.resolve({ driver: store }) });
  registerDriver('chain', { kind: 'format', load: () => Promise.resolve({ driver: chain }) });
});

function newGraph(contents: Record<string, Uint8Array> = {}): Graph {
  files.clear();
  opened = [];
  for (const [name, bytes] of Object.entries(contents)) files.set(name, bytes);
  return new Graph(testContext());
}

/** The code and message of the error; also, that nothing stayed open. */
async function failure(
  graph: Graph,
  options: string | Record<string, unknown>,
  extra: OpenGraphOptions = {},
): Promise<string> {
  try {
    await openGraph(graph, options, extra);
  } catch (error) {
    expect(error).toBeInstanceOf(BlockError);
    expect([graph.nodes.length, openNow()]).toEqual([0, 0]);
    return `${(error as BlockError).code}: ${(error as BlockError).message}`;
  }
  throw new Error('it opened');
}

const shape = (graph: Graph): string[] =>
  graph
    .queryBlock()
    .map((n) => `${n.driver} ${n.readOnly ? 'ro' : 'rw'} ${n.children.map((c) => c.role).join()}`);

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

describe('names stored in images', () => {
  const two = { 'd/top.img': image('base.img'), 'd/base.img': image(''), 'x.img': image('') };
  const top = { driver: 'chain', 'node-name': 'top', filename: 'opfs:d/top.img' };

  it('are not followed without a policy, and the message says how', async () => {
    const graph = newGraph(two);
    for (const policy of [undefined, { drivers: [] }]) {
      const message = await failure(graph, top, { policy });
      expect(message).toMatch(/^EACCES: node 'top': the image names 'opfs:d\/base.img'/);
      expect(message).toMatch(/Give 'backing' in the options \(null for none\)/);
    }
  });

  it('are followed beside the image where the policy allows driver and place', async () => {
    const graph = newGraph(two);
    for (const prefixes of [undefined, ['d'], ['d/'], ['']]) {
      const policy =
        prefixes === undefined ? { drivers: ['opfs'] } : { drivers: ['opfs'], prefixes };
      await openGraph(graph, top, { policy });
      expect(shape(graph)).toEqual([
        'opfs rw ', 'opfs ro ', 'chain ro file', 'chain rw file,backing',
      ]); // prettier-ignore
      await graph.closeAll();
      expect(openNow()).toBe(0);
    }
    for (const policy of [
      { drivers: ['http'] },
      { drivers: ['opfs'], prefixes: ['e/', 'd/base'] },
      { drivers: ['opfs'], prefixes: [] },
      () => false,
    ]) {
      expect(await failure(graph, top, { policy })).toMatch(/^EACCES/);
    }
  });

  it('do not climb out of the allowed place', async () => {
    const graph = newGraph({ ...two, 'd/top.img': image('../x.img') });
    const policy = { drivers: ['opfs'], prefixes: ['d/'] };
    expect(await failure(graph, top, { policy })).toMatch(/EACCES: .*'x.img' lies below none/);
    await openGraph(graph, top, { policy: { drivers: ['opfs'] } });
    expect(graph.queryBlock().map((node) => node.filename)).toContain('opfs:x.img');
  });

  it('give way to options: another image, or none', async () => {
    const graph = newGraph(two);
    await openGraph(graph, { ...top, backing: null });
    expect(shape(graph)).toEqual(['opfs rw ', 'chain rw file']);
    await graph.closeAll();
    await openGraph(graph, { ...top, backing: { driver: 'null-co', size: 4096 } });
    expect(shape(graph)).toEqual(['opfs rw ', 'null-co ro ', 'chain rw file,backing']);
    await graph.closeAll();
    const decide: OpenGraphOptions['policy'] = ({ filename, role, name }) => {
      expect([filename, role, name]).toEqual(['opfs:d/base.img', 'backing', 'base.img']);
      return { driver: 'memory', size: 512 };
    };
    await openGraph(graph, top, { policy: decide });
    expect(shape(graph)).toContain('memory ro ');
  });

  it('end in an error, not a loop, when they go in a circle or too deep', async () => {
    const policy = { drivers: ['opfs'] };
    const circle = newGraph({ 'd/top.img': image('b.img'), 'd/b.img': image('../d/top.img') });
    expect(await failure(circle, top, { policy })).toMatch(
      /EINVAL: .*circle: opfs:d\/top.img → opfs:d\/b.img → opfs:d\/top.img/,
    );
    const deep: Record<string, Uint8Array> = { 'd/top.img': image('0') };
    for (let i = 0; i < 70; i++) deep[`d/${i}`] = image(String(i + 1));
    expect(await failure(newGraph(deep), top, { policy })).toMatch(/EINVAL: more than 64 nodes/);
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
