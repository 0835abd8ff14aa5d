// Which mappings of queues to IOThreads are taken, in QEMU's rules.

import { describe, expect, it } from 'vitest';
import { checkVqMapping } from './vq-mapping.ts';

describe('iothread-vq-mapping', () => {
  it('deals the queues out by turns where no entry names some', () => {
    expect(checkVqMapping([{ iothread: 'a' }, { iothread: 'b' }], 5)).toEqual([
      [0, 2, 4],
      [1, 3],
    ]);
  });
  it('takes them as they are named', () => {
    const mapping = [
      { iothread: 'a', vqs: [3] },
      { iothread: 'b', vqs: [0, 2, 1] },
    ];
    expect(checkVqMapping(mapping, 4)).toEqual([[3], [0, 2, 1]]);
  });
  it.each([
    ['names no IOThread', [], 2],
    ['named twice', [{ iothread: 'a' }, { iothread: 'a' }], 2],
    ['raise numQueues', [{ iothread: 'a' }, { iothread: 'b' }], 1],
    ['by every entry, or by none', [{ iothread: 'a', vqs: [0] }, { iothread: 'b' }], 2],
    ['there is no queue 2', [{ iothread: 'a', vqs: [0, 1, 2] }], 2],
    ['there is no queue -1', [{ iothread: 'a', vqs: [0, -1] }], 2],
    ['queue 1 is mapped twice', [{ iothread: 'a', vqs: [0, 1, 1] }], 2],
    ['queue 1 is mapped to no IOThread', [{ iothread: 'a', vqs: [0] }], 2],
  ])('refuses what is wrong, and says so: %s', (why, mapping, numQueues) => {
    expect(() => checkVqMapping(mapping, numQueues)).toThrow(why);
  });
});
