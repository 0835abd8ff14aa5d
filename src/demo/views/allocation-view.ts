// The map of what the disk's top image holds itself, as a grid of cells that fill while the guest
// writes, and the same in words. Asks the disk once a second at most, only while it is in sight and
// something was written, and less often where the answer takes long.

import type { BlockNodeStats, Disk, MapEntry } from '../../index.ts';
import { element, setText } from '../elements.ts';
import { formatBytes, formatShare } from '../format-units.ts';
import { nowSeconds } from '../page-clock.ts';
import { allocationOf } from './allocation.ts';
import type { Allocation } from './allocation.ts';

/** Side of a cell and the gap beside it, CSS pixels. */
const CELL = 7;
const GAP = 1;
const ROWS = 12;
/** Between two questions, seconds, and what share of the time may go into answers. */
const PERIOD = 1;
const SHARE = 0.2;

interface Watched {
  readonly disk: Disk;
  /** The top image lies over another. */
  readonly overlay: boolean;
  /** Changes to it so far, as they were when the map was asked for. */
  changes: number;
  /** When to ask again at the earliest, seconds. */
  next: number;
}

export class AllocationView {
  readonly #canvas: HTMLCanvasElement = element('map', HTMLCanvasElement);
  readonly #words: HTMLElement = element('map-words', HTMLElement);
  #watched: Watched | undefined;
  #asking = false;
  #inSight = true;
  #shown: { map: readonly MapEntry[]; length: number; overlay: boolean } | undefined;

  constructor() {
    new IntersectionObserver((entries) => {
      this.#inSight = entries.at(-1)!.isIntersecting;
    }).observe(this.#canvas);
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  /** The disk to draw from now on; undefined: none, and what was drawn last stays. */
  watch(disk: Disk | undefined, overlay: boolean): void {
    this.#watched = disk && { disk, overlay, changes: -1, next: 0 };
  }

  /** The root's counts are these now: asks for the map where they say that it changed. */
  noticed({ writeOps, zeroOps, discardOps }: BlockNodeStats): void {
    const watched = this.#watched;
    const changes = writeOps + zeroOps + discardOps;
    if (watched === undefined || this.#asking || !this.#inSight || document.hidden) return;
    if (changes === watched.changes || nowSeconds() < watched.next) return;
    watched.changes = changes;
    void this.#ask(watched);
  }

  async #ask(watched: Watched): Promise<void> {
    this.#asking = true;
    const start = nowSeconds();
    try {
      const map = await watched.disk.map();
      const took = nowSeconds() - start;
      watched.next = start + Math.max(PERIOD, took / SHARE);
      if (this.#watched !== watched) return;
      this.#shown = { map, length: watched.disk.length, overlay: watched.overlay };
      this.#draw();
    } catch {
      // The disk was closed, or cannot be read: whoever did that says so.
      watched.next = start + PERIOD;
    } finally {
      this.#asking = false;
    }
  }

  #draw(): void {
    const width = this.#canvas.clientWidth;
    if (this.#shown === undefined || width === 0) return;
    const { map, length, overlay } = this.#shown;
    const columns = Math.floor((width + GAP) / (CELL + GAP));
    const allocation = allocationOf(map, length, columns * ROWS);
    this.#paint(allocation, columns, width);
    this.#say(allocation, length, overlay);
  }

  #paint({ cellBytes, data, zero }: Allocation, columns: number, width: number): void {
    const canvas = this.#canvas;
    const scale = devicePixelRatio;
    const rows = Math.max(1, Math.ceil(data.length / columns));
    const height = rows * (CELL + GAP) - GAP;
    canvas.style.height = `${height}px`;
    // This empties it, too.
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext('2d')!;
    const style = getComputedStyle(canvas);
    const [none, written, zeroes] = ['--line', '--write', '--read'].map((name) =>
      style.getPropertyValue(name),
    );
    context.scale(scale, scale);
    for (let cell = 0; cell < data.length; cell++) {
      const x = (cell % columns) * (CELL + GAP);
      const y = Math.floor(cell / columns) * (CELL + GAP);
      context.globalAlpha = 1;
      context.fillStyle = none!;
      context.fillRect(x, y, CELL, CELL);
      const filled = data[cell]! + zero[cell]!;
      if (filled === 0) continue;
      // However little: a cell that was written to is seen.
      context.globalAlpha = 0.3 + 0.7 * Math.min(1, filled / cellBytes);
      context.fillStyle = data[cell]! > 0 ? written! : zeroes!;
      context.fillRect(x, y, CELL, CELL);
    }
  }

  #say(
    { cellBytes, dataBytes, zeroBytes, runs }: Allocation,
    length: number,
    overlay: boolean,
  ): void {
    const what = overlay ? 'the overlay' : 'the image';
    const held = dataBytes + zeroBytes;
    const zeroes = zeroBytes === 0 ? '' : `, ${formatBytes(zeroBytes)} of it zeroes`;
    const words =
      `${formatBytes(held)} of ${formatBytes(length)} (${formatShare(held, length)}) in ${what}` +
      `${zeroes}; ${runs === 1 ? '1 run' : `${runs} runs`}`;
    setText(this.#words, `${words}. A cell is ${formatBytes(cellBytes)}.`);
    this.#canvas.setAttribute('aria-label', `Map of the disk: ${words}`);
  }
}
