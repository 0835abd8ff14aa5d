// Two charts of the last minute: requests a second and bytes a second, reads and writes. Loaded when
// the first sample is there.

import type uPlot from 'uplot';
import { formatBytes, formatCount } from './format-units.ts';
import type { RateHistory, RateTable } from './rates.ts';
import { WINDOW_SECONDS } from './rates.ts';

interface Chart {
  readonly title: string;
  readonly columns: readonly [keyof RateTable, keyof RateTable];
  readonly format: (value: number) => string;
  /** The scale never ends below this, or noise would look like work. */
  readonly least: number;
}

const CHARTS: readonly Chart[] = [
  {
    title: 'Requests per second',
    columns: ['readOps', 'writeOps'],
    format: formatCount,
    least: 10,
  },
  {
    title: 'Bytes per second',
    columns: ['readBytes', 'writeBytes'],
    format: formatBytes,
    least: 64 * 1024,
  },
];
const HEIGHT = 132;

export class Charts {
  readonly #container: HTMLElement;
  readonly #history: RateHistory;
  #plots: uPlot[] = [];
  #loading: Promise<void> | undefined;

  constructor(container: HTMLElement, history: RateHistory) {
    this.#container = container;
    this.#history = history;
  }

  /** Draws what the history holds now. */
  draw(): void {
    this.#loading ??= this.#load();
    const table = this.#history.table();
    this.#plots.forEach((plot, i) => plot.setData(dataFor(CHARTS[i]!, table)));
  }

  async #load(): Promise<void> {
    const [{ default: Plot }] = await Promise.all([
      import('uplot'),
      import('uplot/dist/uPlot.min.css'),
    ]);
    const build = (): void => {
      for (const plot of this.#plots) plot.destroy();
      const table = this.#history.table();
      this.#plots = CHARTS.map(
        (chart) => new Plot(this.#options(chart), dataFor(chart, table), this.#container),
      );
    };
    build();
    // Colours are read when a chart is made.
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', build);
    new ResizeObserver(() => {
      const width = this.#width();
      for (const plot of this.#plots) {
        if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
      }
    }).observe(this.#container);
  }

  #width(): number {
    return Math.max(200, this.#container.clientWidth);
  }

  #options(chart: Chart): uPlot.Options {
    const style = getComputedStyle(this.#container);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
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
      value: (_plot, value) => (value === null ? '–' : chart.format(value)),
    });
    return {
      title: chart.title,
      width: this.#width(),
      height: HEIGHT,
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: [-WINDOW_SECONDS, 0] },
        y: { range: (_plot, _least, most) => [0, Math.max(chart.least, most * 1.1)] },
      },
      axes: [
        { ...axis, size: 24, values: (_plot, at) => at.map((x) => (x === 0 ? 'now' : `${x} s`)) },
        { ...axis, size: 66, space: 28, values: (_plot, at) => at.map(chart.format) },
      ],
      series: [
        {
          label: 'time',
          value: (_plot, value) => (value === null ? '–' : `${value.toFixed(0)} s`),
        },
        series('read', '--read'),
        series('write', '--write'),
      ],
    };
  }
}

function dataFor(chart: Chart, table: RateTable): uPlot.AlignedData {
  const [first, second] = chart.columns;
  return [[...table.seconds], [...table[first]], [...table[second]]];
}
