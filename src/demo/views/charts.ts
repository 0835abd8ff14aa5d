// Two charts of the last minute: requests a second and bytes a second, reads and writes, with the
// rates of now in words above. Loaded when the first sample is there.

import type uPlot from 'uplot';
import { make, setText } from '../elements.ts';
import { formatBytes, formatCount } from '../format-units.ts';
import type { RateHistory, RateTable } from './rates.ts';
import { WINDOW_SECONDS } from './rates.ts';

interface ChartKind {
  readonly title: string;
  readonly read: Exclude<keyof RateTable, 'seconds'>;
  readonly write: Exclude<keyof RateTable, 'seconds'>;
  readonly format: (value: number) => string;
  /** The scale never ends below this, or noise would look like work. */
  readonly least: number;
  /** Distances between the lines that make round numbers. */
  readonly steps: readonly number[];
}

const HEIGHT = 128;
const powers = (base: number, most: number): number[] => {
  const steps: number[] = [];
  for (let step = 1; step <= most; step *= base) steps.push(step);
  return steps;
};

const KINDS: readonly ChartKind[] = [
  {
    title: 'Requests / s',
    read: 'readOps',
    write: 'writeOps',
    format: formatCount,
    least: 10,
    steps: powers(10, 1e7).flatMap((step) => [step, 2 * step, 5 * step]),
  },
  {
    title: 'Bytes / s',
    read: 'readBytes',
    write: 'writeBytes',
    format: formatBytes,
    least: 64 * 1024,
    steps: powers(2, 2 ** 40),
  },
];

class Chart {
  readonly #kind: ChartKind;
  readonly #stage: HTMLElement = make('div', 'chart-stage');
  readonly #read: HTMLElement = make('b');
  readonly #write: HTMLElement = make('b');
  #plot: uPlot | undefined;

  constructor(kind: ChartKind, container: HTMLElement) {
    this.#kind = kind;
    const head = make('figcaption');
    const legend = (className: string, words: string, value: HTMLElement): HTMLElement => {
      const entry = make('span', className, words);
      entry.append(value);
      return entry;
    };
    head.append(
      make('span', 'chart-title', kind.title),
      legend('read', 'read', this.#read),
      legend('write', 'write', this.#write),
    );
    const figure = make('figure');
    figure.append(head, this.#stage);
    container.append(figure);
    this.show(undefined);
  }

  /** Puts the values into the chart and the last of them into words. */
  show(table: RateTable | undefined): void {
    const { read, write, format } = this.#kind;
    setText(this.#read, format(table?.[read].at(-1) ?? 0));
    setText(this.#write, format(table?.[write].at(-1) ?? 0));
    if (table !== undefined) this.#plot?.setData(this.#data(table));
  }

  /** Makes the plot, anew where there is one: colours are read only then. */
  build(Plot: typeof uPlot, table: RateTable): void {
    this.#plot?.destroy();
    this.#plot = new Plot(this.#options(), this.#data(table), this.#stage);
  }

  fit(): void {
    const width = this.#stage.clientWidth;
    if (width > 0 && this.#plot?.width !== width) this.#plot?.setSize({ width, height: HEIGHT });
  }

  #data(table: RateTable): uPlot.AlignedData {
    return [[...table.seconds], [...table[this.#kind.read]], [...table[this.#kind.write]]];
  }

  #options(): uPlot.Options {
    const { format, least, steps, read, write } = this.#kind;
    const style = getComputedStyle(this.#stage);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis: uPlot.Axis = {
      stroke: colour('--quiet'),
      font: `11px ${style.fontFamily}`,
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { show: false },
    };
    const series = (label: string, name: string): uPlot.Series => ({
      label,
      stroke: colour(name),
      width: 1.5,
      fill: `${colour(name)}22`,
      points: { show: false },
    });
    return {
      width: Math.max(160, this.#stage.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, range: [-WINDOW_SECONDS, 0] },
        y: { range: (_plot, _least, most) => [0, Math.max(least, most * 1.1)] },
      },
      axes: [
        { ...axis, size: 22, values: (_plot, at) => at.map((x) => (x === 0 ? 'now' : `${x} s`)) },
        {
          ...axis,
          size: 62,
          space: 26,
          incrs: [...steps],
          values: (_plot, at) => at.map(format),
        },
      ],
      series: [{}, series(read, '--read'), series(write, '--write')],
    };
  }
}

export class Charts {
  readonly #container: HTMLElement;
  readonly #history: RateHistory;
  readonly #charts: readonly Chart[];
  #loading: Promise<void> | undefined;

  constructor(container: HTMLElement, history: RateHistory) {
    this.#container = container;
    this.#history = history;
    this.#charts = KINDS.map((kind) => new Chart(kind, container));
  }

  /** Draws what the history holds now. */
  draw(): void {
    this.#loading ??= this.#load();
    const table = this.#history.table();
    for (const chart of this.#charts) chart.show(table);
  }

  async #load(): Promise<void> {
    const [{ default: Plot }] = await Promise.all([
      import('uplot'),
      import('uplot/dist/uPlot.min.css'),
    ]);
    const build = (): void => {
      const table = this.#history.table();
      for (const chart of this.#charts) chart.build(Plot, table);
    };
    build();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', build);
    new ResizeObserver(() => {
      for (const chart of this.#charts) chart.fit();
    }).observe(this.#container);
  }
}
