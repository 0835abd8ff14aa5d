// Names stored in images: followed where the caller said so, and nowhere else.

import { beforeAll, describe, expect, it } from 'vitest';
import {
  failure,
  image,
  newGraph,
  openNow,
  registerChainDrivers,
  shape,
} from '../testing/chain-drivers.ts';
import { openGraph } from './open.ts';
import type { OpenGraphOptions } from './open.ts';
import { applyPolicy } from './policy.ts';

beforeAll(registerChainDrivers);

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
    expect(graph.nodes.map((node) => node.filename)).toContain('opfs:x.img');
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

describe('prefixes', () => {
  const ask = (filename: string, prefix: string): Promise<unknown> => {
    const named = { node: 'n', role: 'backing', name: 'x', filename, format: undefined } as const;
    return applyPolicy({ drivers: ['http', 'opfs'], prefixes: [prefix] }, named);
  };

  it.each([
    ['https://a.org/x.img', 'https://a.org'],
    ['https://a.org/d/x.img', 'https://a.org/d/'],
    ['https://a.org/d/../x.img', 'https://a.org/x.img'],
    ['https://a.org/x.img?v=1', 'https://a.org/x.img'],
    ['opfs:d/x.img', 'd'],
  ])('%s lies below %s', async (filename, prefix) => {
    expect(await ask(filename, prefix)).toHaveProperty('file');
  });

  it.each([
    ['https://a.org.evil.net/x.img', 'https://a.org'],
    ['https://a.org@evil.net/x.img', 'https://a.org'],
    ['https://a.org:8443/x.img', 'https://a.org'],
    ['https://a.org/d/../x.img', 'https://a.org/d/'],
    ['https://a.org/d/%2e%2e/x.img', 'https://a.org/d/'],
    ['http://a.org/x.img', 'https://a.org'],
    ['opfs:images-of-others/x.img', 'images'],
    ['opfs:d/../../x.img', ''],
    ['json:{"driver":"http","url":"https://a.org/x"}', 'https://a.org'],
  ])('%s does not lie below %s', async (filename, prefix) => {
    await expect(ask(filename, prefix)).rejects.toMatchObject({ code: 'EACCES' });
  });
});
