// Graphical modes on shared memory, in a real v86 without firmware: what it renders reaches what is
// drawn. The class that stands in for ImageData refuses shared memory as browsers do.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { V86Machine } from './v86-machine.ts';
import { machineOf } from './v86-machine.ts';
import { sharedMemoryV86 } from './v86-shared-memory.ts';
import { copyGraphics } from './v86-shared-screen.ts';

const require = createRequire(import.meta.url);
const BUILD = dirname(require.resolve('v86'));

class FakeImageData {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;

  constructor(...[first, second, third]: [Uint8ClampedArray | number, number, number?]) {
    if (typeof first !== 'number') {
      if (first.buffer instanceof SharedArrayBuffer) throw new TypeError('it is shared');
      this.data = first;
      this.width = second;
      this.height = third!;
      return;
    }
    this.width = first;
    this.height = second;
    this.data = new Uint8ClampedArray(4 * first * second);
  }
}

interface Vga {
  graphical_mode: boolean;
  image_data: FakeImageData;
  dest_buffet_offset: number;
  readonly screen: { update_buffer(layers: readonly object[]): void };
  set_size_graphical(...sizes: readonly number[]): void;
}

describe('graphics on shared memory', () => {
  let emulator: V86;
  let machine: V86Machine;
  let vga: Vga;
  beforeAll(async () => {
    vi.stubGlobal('ImageData', FakeImageData);
    const shared = sharedMemoryV86({ wasm: await readFile(join(BUILD, 'v86.wasm')) });
    emulator = new V86({ ...shared, memory_size: 16 * 1024 * 1024, autostart: false });
    machine = await machineOf(emulator);
    vga = (machine.cpu.devices as unknown as { vga: Vga }).vga;
  });
  afterAll(async () => {
    vi.unstubAllGlobals();
    await emulator.destroy();
  });

  it('draws what the emulator renders, rows that changed and no others', () => {
    const sizes: unknown[] = [];
    emulator.add_listener('screen-set-size', (size) => sizes.push(size));
    vga.graphical_mode = true;
    vga.set_size_graphical(320, 200, 320, 200, 8);
    vga.set_size_graphical(320, 200, 320, 200, 8);
    expect(sizes).toEqual([[320, 200, 8]]);
    const { image_data: image, dest_buffet_offset: offset } = vga;
    expect([image.width, image.height]).toEqual([320, 200]);

    const rendered = new Uint8Array(machine.memory.buffer, offset, 4 * 320 * 200);
    rendered.fill(7);
    vga.screen.update_buffer([{ image_data: image, buffer_y: 10, buffer_height: 2 }]);
    const row = (y: number): number => image.data[4 * 320 * y]!;
    expect([9, 10, 11, 12].map(row)).toEqual([0, 7, 7, 0]);
    vga.screen.update_buffer([{ image_data: image, buffer_y: -5, buffer_height: 500 }]);
    expect(image.data.every((byte) => byte === 7)).toBe(true);
  });

  it('refuses a v86 of another shape by name', () => {
    const cpu = { devices: { vga: { screen: {} } } };
    expect(() => copyGraphics(cpu)).toThrow(/svga_mark_dirty.*vga\.screen\.update_buffer/);
  });
});
