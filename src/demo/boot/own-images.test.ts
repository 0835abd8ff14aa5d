// The list of images that can be chosen again.

import { describe, expect, it } from 'vitest';
import { OwnImages } from './own-images.ts';

function storage(text: string | null = null): Pick<Storage, 'getItem' | 'setItem'> {
  return { getItem: () => text, setItem: (_key, value) => void (text = value) };
}
const image = (name: string): { image: string; guest: 'auto'; title: string } => ({
  image: `opfs:${name}`,
  guest: 'auto',
  title: name,
});
const titles = (images: OwnImages): string[] => images.list().map(({ title }) => title);

describe('OwnImages', () => {
  it('has the latest first, each once, twelve at most', () => {
    const images = new OwnImages(storage());
    expect(images.list()).toEqual([]);
    for (const name of ['a', 'b', 'a']) images.add(image(name));
    expect(titles(images)).toEqual(['a', 'b']);
    images.remove('opfs:a');
    expect(titles(images)).toEqual(['b']);
    for (let i = 0; i < 20; i++) images.add(image(`n${i}`));
    expect(titles(images)).toHaveLength(12);
    expect(titles(images)[0]).toBe('n19');
  });

  it.each(['nonsense', '{}', '[1, null, {"image": 3}]'])('reads nothing from %s', (text) => {
    expect(new OwnImages(storage(text)).list()).toEqual([]);
  });
});
