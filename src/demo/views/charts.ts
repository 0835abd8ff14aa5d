// Charts of the last minute, with the values of now in words above. Loaded when the first sample is
// there, and not drawn while they are out of sight.

import type uPlot from 'uplot';
import { make, setText } from '../elements.ts';
import { CHART_KINDS } from './chart-kinds.ts';
import type { ChartKind } from './chart-kinds.ts';
import type { RateHistory, RateTable } from './rates.ts';
import { WINDOW_SECONDS } from './rates.ts';

const HEIGHT = 104;

class Chart {
  readonly #kind: ChartKind;
  readonly #stage: HTMLElement = make('div', 'chart-stage');
  readonly #values: readonly HTMLElement[];
  #plot: uPlot | undefined;

  constructor(kind: ChartKind, container: HTMLElement) {
    this.#kind = kind;
    const head = make('figcaption');
    head.append(make('span', 'chart-title', kind.title));
    this.#values = kind.series.map(({ label, colour }) => {
      const entry = make('span', 'legend', label);
      entry.style.setProperty('--colour', `var(${colour})`);
      const value = make('b');
      entry.append(value);
      head.append(entry);
      return value;
    });
    this.#stage.setAttribute('aria-hidden', 'true'); // its caption says what it shows now
    const figure = make('figure');
    figure.append(head, this.#stage);
    container.append(figure);
    this.show(undefined);
  }

  /** Puts the values into the chart and the last of them into words. */
  show(table: RateTable | undefined): void {
    const { series, format, nothing } = this.#kind;
    series.forEach(({ column }, i) => {
      const value = table?.[column].at(-1) ?? undefined;
      setText(this.#values[i]!, value === undefined ? nothing : format(value));
    });
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
    const columns = this.#kind.series.map(({ column }) => [...table[column]]);
    return [[...table.seconds], ...columns];
  }

  #options(): uPlot.Options {
    const { format, steps, logarithmic } = this.#kind;
    const style = getComputedStyle(this.#stage);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis: uPlot.Axis = {
      stroke: colour('--quiet'),
      font: `11px ${style.fontFamily}`,
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { show: false },
    };
    const series = this.#kind.series.map((entry): uPlot.Series => ({
      label: entry.label,
      stroke: colour(entry.colour),
      width: 1.5,
      ...(logarithmic ? {} : { fill: `${colour(entry.colour)}22` }),
      // Between quiet times a value may stand alone, and a line of one point is none.
      points: { show: logarithmic, size: 4, fill: colour(entry.colour) },
    }));
    return {
      width: Math.max(160, this.#stage.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [-WINDOW_SECONDS, 0] }, y: this.#scale() },
      axes: [
        { ...axis, size: 22, values: (_plot, at) => at.map((x) => (x === 0 ? 'now' : `${x} s`)) },
        {
          ...axis,
          size: 58,
          // All decades get words, also where uPlot takes the lines to be close.
          ...(logarithmic
            ? { splits: decades, filter: (_plot, at) => at }
            : { space: 24, incrs: [...steps] }),
          values: (_plot, at) => at.map(format),
        },
      ],
      series: [{}, ...series],
    };
  }

  #scale(): uPlot.Scale {
    const { least, logarithmic } = this.#kind;
    if (!logarithmic) return { range: (_plot, _least, most) => [0, Math.max(least, most * 1.1)] };
    const up = (value: number): number => 10 ** Math.ceil(Math.log10(Math.max(value, least)));
    return { distr: 3, range: (_plot, _least, most) => [least, Math.max(up(most), 1000 * least)] };
  }
}

/** Powers of ten for the lines of a logarithmic scale, five at most. */
function decades(_plot: uPlot, _axis: number, least: number, most: number): number[] {
  const first = Math.round(Math.log10(least));
  const last = Math.round(Math.log10(most));
  const step = Math.ceil((last - first) / 4);
  const lines: number[] = [];
  for (let power = first; power <= last; power += step) lines.push(10 ** power);
  return lines;
}

export class Charts {
  readonly #container: HTMLElement;
  readonly #history: RateHistory;
  readonly #charts: readonly Chart[];
  #loading: Promise<void> | undefined;
  #inSight = true;

  constructor(container: HTMLElement, history: RateHistory) {
    this.#container = container;
    this.#history = history;
    this.#charts = CHART_KINDS.map((kind) => new Chart(kind, container));
    new IntersectionObserver((entries) => {
      this.#inSight = entries.at(-1)!.isIntersecting;
      if (this.#inSight && this.#loading !== undefined) this.draw();
    }).observe(container);
  }

  /** Draws what the history holds now. */
  draw(): void {
    this.#loading ??= this.#load();
    if (!this.#inSight) return;
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
