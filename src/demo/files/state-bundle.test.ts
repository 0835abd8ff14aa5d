// Bundles of saved machines: what is written is read, and what is none is refused by reason.

import { describe, expect, it } from 'vitest';
import { encodeDescription, readBundle } from './state-bundle.ts';
import type { StateDescription } from './state-bundle.ts';

const MAGIC = 'diskplane-state\n';
const description = {
  version: 1,
  title: 'Embedded guest',
  savedAt: 1_800_000_000_000,
  choice: { guest: 'embedded', store: 'idb' },
  memoryBytes: 32 * 1024 * 1024,
  base: 'sum',
  device: {},
  serialText: 'guest# ',
  machineBytes: 5,
  diskBytes: 3,
} as unknown as StateDescription;

const parts = (over: Partial<StateDescription> = {}): BlobPart[] => [
  'state',
  'qcw',
  encodeDescription({ ...description, ...over }),
];

describe('state bundles', () => {
  it('are read as they were written', async () => {
    const file = new Blob(parts());
    const bundle = await readBundle(file, 'a');
    expect(bundle.description).toEqual(description);
    expect(bundle.bytes).toBe(file.size);
    expect(await bundle.machine.text()).toBe('state');
    expect(await bundle.disk.text()).toBe('qcw');
  });

  it.each([
    ['nothing', new Blob([]), 'ends otherwise'],
    ['an image', new Blob([new Uint8Array(4096)]), 'ends otherwise'],
    ['one cut short', new Blob(parts().slice(0, 2)), 'ends otherwise'],
    ['one without its beginning', new Blob(parts().slice(1)), '3 bytes of .* not 8'],
    ['another version', new Blob(parts({ version: 2 as never })), 'version 2'],
    ['one without a device', new Blob(parts({ device: null as never })), 'lacks something'],
    ['negative lengths', new Blob(parts({ diskBytes: -3 })), 'lacks something'],
    ['a huge one', new Blob([new Uint8Array([0, 0, 0, 255]), MAGIC]), 'a description of'],
    ['no JSON', new Blob(['{', new Uint8Array([1, 0, 0, 0]), MAGIC]), 'damaged'],
  ])('refuse %s', async (_what, file, why) => {
    await expect(readBundle(file, 'a.state')).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringMatching(new RegExp(`'a.state'.*${why}`)) as string,
    });
  });
});
