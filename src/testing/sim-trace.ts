// What happened in a simulated world, one line an event. The last lines are kept, for a failure to
// print; all of them go to whoever listens.

/** One thing that happened. */
export interface SimRecord {
  /** Virtual nanoseconds. */
  readonly at: number;
  readonly thread: string;
  readonly kind: string;
  readonly label: string;
}

/** Lines that a failure prints. */
const KEPT = 40;

/** `12.345678 ms  io0      turn     label` */
export function formatRecord({ at, thread, kind, label }: SimRecord): string {
  const ms = (at / 1e6).toFixed(6).padStart(14);
  return `${ms} ms  ${thread.padEnd(8)} ${kind.padEnd(8)} ${label}`.trimEnd();
}

export class SimTrace {
  readonly #kept: SimRecord[] = [];
  #added = 0;
  readonly #listener: ((record: SimRecord) => void) | undefined;

  constructor(listener: ((record: SimRecord) => void) | undefined) {
    this.#listener = listener;
  }

  add(record: SimRecord): void {
    this.#kept[this.#added++ % KEPT] = record;
    this.#listener?.(record);
  }

  /** The last records, oldest first, one a line. */
  tail(): string {
    const at = this.#added % KEPT;
    return [...this.#kept.slice(at), ...this.#kept.slice(0, at)].map(formatRecord).join('\n');
  }
}
