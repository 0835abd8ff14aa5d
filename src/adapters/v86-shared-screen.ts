// Graphics on shared memory. v86 hands its picture to the canvas as ImageData over its own memory,
// which browsers refuse where that is shared: the guest would end with its first graphical mode. Here
// the ImageData is memory of its own, and what is to be drawn is copied into it first.

import { BlockError } from '../block/block-error.ts';

/** A part of the picture that goes to the canvas; rows count from the top of `image_data`. */
interface Layer {
  readonly buffer_y: number;
  readonly buffer_height: number;
}

interface Screen {
  set_size_graphical(
    width: number,
    height: number,
    bufferWidth: number,
    bufferHeight: number,
  ): void;
  update_buffer(layers: readonly Layer[]): void;
}

interface Vga {
  readonly bus: { send(event: 'screen-set-size', size: readonly number[]): void };
  readonly screen: Screen;
  screen_width: number;
  screen_height: number;
  virtual_width: number;
  virtual_height: number;
  image_data: ImageData | null;
  /** Where v86 renders, in its memory; its own spelling. */
  dest_buffet_offset: number;
  set_size_graphical(
    width: number,
    height: number,
    virtualWidth: number,
    virtualHeight: number,
    bitsPerPixel: number,
  ): void;
}

interface Cpu {
  readonly wasm_memory: WebAssembly.Memory;
  readonly devices: { readonly vga?: unknown };
  svga_allocate_dest_buffer(pixels: number): number;
  svga_mark_dirty(): void;
}

const BYTES_PER_PIXEL = 4;

/**
 * Makes graphical modes work on a machine whose memory is shared. Does nothing where there is no
 * canvas to draw on, as in Node. Throws BlockError('ENOTSUP') for a v86 of another shape.
 */
export function copyGraphics(machineCpu: unknown): void {
  if (typeof ImageData === 'undefined') return;
  const cpu = machineCpu as Cpu;
  const vga = cpu.devices.vga as Vga | undefined;
  if (vga === undefined) return;
  checkShape(cpu, vga);
  const { screen } = vga;
  const draw = screen.update_buffer.bind(screen);

  vga.set_size_graphical = (width, height, virtualWidth, virtualHeight, bitsPerPixel): void => {
    const columns = Math.max(virtualWidth, 1);
    const rows = Math.max(virtualHeight, 1);
    const as = [vga.screen_width, vga.screen_height, vga.virtual_width, vga.virtual_height];
    if ([width, height, columns, rows].every((size, i) => size === as[i])) return;
    Object.assign(vga, {
      screen_width: width,
      screen_height: height,
      virtual_width: columns,
      virtual_height: rows,
      // Unsigned: addresses come out of WebAssembly with a sign.
      dest_buffet_offset: cpu.svga_allocate_dest_buffer(columns * rows) >>> 0,
      image_data: new ImageData(columns, rows),
    });
    cpu.svga_mark_dirty();
    screen.set_size_graphical(width, height, columns, rows);
    vga.bus.send('screen-set-size', [width, height, bitsPerPixel]);
  };

  screen.update_buffer = (layers): void => {
    const image = vga.image_data;
    if (image !== null) {
      for (const layer of layers) copyRows(cpu.wasm_memory, vga.dest_buffet_offset, image, layer);
    }
    draw(layers);
  };
}

function copyRows(
  memory: WebAssembly.Memory,
  offset: number,
  image: ImageData,
  { buffer_y: first, buffer_height: rows }: Layer,
): void {
  const rowBytes = BYTES_PER_PIXEL * image.width;
  const start = Math.max(first, 0) * rowBytes;
  const end = Math.min(first + rows, image.height) * rowBytes;
  if (end <= start) return;
  image.data.set(new Uint8ClampedArray(memory.buffer, offset + start, end - start), start);
}

function checkShape(cpu: Cpu, vga: Vga): void {
  const missing = [
    ['cpu.svga_allocate_dest_buffer', typeof cpu.svga_allocate_dest_buffer === 'function'],
    ['cpu.svga_mark_dirty', typeof cpu.svga_mark_dirty === 'function'],
    ['vga.set_size_graphical', typeof vga.set_size_graphical === 'function'],
    ['vga.screen.update_buffer', typeof vga.screen?.update_buffer === 'function'],
    ['vga.screen.set_size_graphical', typeof vga.screen?.set_size_graphical === 'function'],
    ['vga.bus.send', typeof vga.bus?.send === 'function'],
    ['vga.image_data', 'image_data' in vga],
  ].flatMap(([name, there]) => (there === true ? [] : [String(name)]));
  if (missing.length === 0) return;
  throw new BlockError('ENOTSUP', `this v86 has not the internals needed: ${missing.join(', ')}`);
}
