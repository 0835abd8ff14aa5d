import { describe, expect, it } from 'vitest';
import { Prng } from '../testing/prng.ts';
import { LruList } from './lru.ts';

describe('LruList', () => {
  it('starts empty and answers the least recently touched', () => {
    const lru = new LruList(4);
    expect(lru.oldest).toBe(-1);
    for (const slot of [2, 0, 3]) lru.touch(slot);
    expect(lru.oldest).toBe(2);
    lru.touch(2);
    expect(lru.oldest).toBe(0);
    lru.remove(0);
    lru.remove(0);
    expect(lru.has(0)).toBe(false);
    expect(lru.oldest).toBe(3);
  });

  it('keeps the order of a plain array through 5000 random steps', () => {
    const seed = 0x1a2b;
    const random = new Prng(seed);
    const lru = new LruList(9);
    let model: number[] = [];
    for (let step = 0; step < 5000; step++) {
      const slot = random.below(9);
      model = model.filter((other) => other !== slot);
      if (random.chance(70)) {
        lru.touch(slot);
        model.push(slot);
      } else {
        lru.remove(slot);
      }
      expect(lru.oldest, `seed ${seed} step ${step}`).toBe(model[0] ?? -1);
      expect(lru.has(slot)).toBe(model.includes(slot));
    }
  });
});
