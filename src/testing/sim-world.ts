// A simulated machine: one virtual clock, one seeded generator, several threads in one heap. All that
// happens is an event in one queue, on some thread; between two events every promise job runs. The
// seed decides how long things take and which of those due at one time comes first, so a seed is a
// whole history: run it again and the same happens in the same order.

import { assert } from '../base/assert.ts';
import { BinaryHeap } from '../base/binary-heap.ts';
import { runMacrotasks } from './macrotasks.ts';
import { Prng } from './prng.ts';
import { SimContext } from './sim-context.ts';
import type { SimContextOptions } from './sim-context.ts';
import { SimTrace } from './sim-trace.ts';
import type { SimRecord } from './sim-trace.ts';

/** What an event is: a turn of a loop, busy waiting, the host's answer, a message. */
export type SimKind = 'turn' | 'poll' | 'host' | 'message' | 'note';

/** Something that will happen. */
export interface SimEvent extends SimRecord {
  readonly context: SimContext;
  /** Among events of one time, from the seed; then by the order they were asked for. */
  readonly order: number;
  readonly serial: number;
  readonly run: () => void;
  heapIndex: number;
}

export interface SimWorldOptions {
  /** Any integer; its low 32 bits count. */
  readonly seed: number;
  /** A world that has not come to its end after so many events has failed. Default a million. */
  readonly maxEvents?: number;
  /** Hears of every event before it happens, and of every note. */
  readonly onRecord?: (record: SimRecord) => void;
}

/** A world came to a bad end. The message holds the seed and the last events. */
export class SimFailure extends Error {
  override readonly name = 'SimFailure';
}

export class SimWorld {
  readonly seed: number;
  /** All chance there is. Draw from it whatever a history should vary. */
  readonly prng: Prng;
  /** Events that happened. */
  events = 0;
  /** Whose event happens, or whose promise jobs run; null for code from outside. */
  current: SimContext | null = null;
  readonly #contexts: SimContext[] = [];
  readonly #queue = new BinaryHeap<SimEvent>(before);
  readonly #trace: SimTrace;
  readonly #maxEvents: number;
  #now = 0;
  #serial = 0;
  #running = false;
  #bug: { readonly error: unknown } | undefined;

  constructor(options: SimWorldOptions) {
    this.seed = options.seed;
    this.prng = new Prng(options.seed);
    this.#maxEvents = options.maxEvents ?? 1_000_000;
    this.#trace = new SimTrace(options.onRecord);
  }

  /** Virtual nanoseconds since the world began. Stands still during an event. */
  now(): number {
    return this.#now;
  }

  /** A new thread with its loop, which starts when the world runs. */
  newContext(name: string, options: SimContextOptions = {}): SimContext {
    const context = new SimContext(this, name, options);
    this.#contexts.push(context);
    return context;
  }

  /** Puts a line of the scenario's own into the trace. */
  note(label: string): void {
    this.#trace.add({ at: this.#now, thread: this.current?.name ?? '', kind: 'note', label });
  }

  /** A bug that came to light outside of a step: the run ends with it. */
  reportBug(error: unknown): void {
    this.#bug ??= { error };
  }

  /**
   * Runs `scenario` as a call of `context`'s thread, and the world until that is over; answers what it
   * answers. Rejects with a SimFailure where that throws, or another callback does, where nothing is
   * left to happen, and where there were too many events.
   */
  async run<T>(context: SimContext, scenario: () => T | Promise<T>): Promise<T> {
    let over = false;
    const done = (): void => void (over = true);
    const answer = context.call('scenario', scenario);
    answer.then(done, done);
    await this.#runWhile(() => !over, Infinity);
    return answer.catch((error: unknown) => {
      throw this.#bugFailure(error);
    });
  }

  /**
   * As `run`, but stops the world when `stopped` says so before an event; answers whether it ran to the
   * scenario's end. Who stops it terminates its threads: nothing that was under way comes to an end.
   */
  async runUntil(
    stopped: () => boolean,
    context: SimContext,
    scenario: () => Promise<void>,
  ): Promise<boolean> {
    let over = false;
    const done = (): void => void (over = true);
    const answer = context.call('scenario', scenario);
    answer.then(done, done);
    await this.#runWhile(() => !over && !stopped(), Infinity);
    if (!over) return false;
    await answer.catch((error: unknown) => {
      throw this.#bugFailure(error);
    });
    return true;
  }

  /** Runs what happens in the next `ns` nanoseconds. */
  runFor(ns: number): Promise<void> {
    return this.#runWhile(() => true, this.#now + ns);
  }

  /** Runs until nothing is left to happen: every loop sleeps, and nobody will wake it. */
  async runToEnd(): Promise<void> {
    await this.#runWhile(() => this.#nextEvent() !== undefined, Infinity);
  }

  /** For contexts: has `run` happen on `context`'s thread after `delay` nanoseconds. */
  schedule(
    context: SimContext,
    kind: SimKind,
    label: string,
    delay: number,
    run: () => void,
  ): SimEvent {
    const event: SimEvent = {
      context,
      at: this.#now + delay,
      thread: context.name,
      kind,
      label,
      order: this.prng.next(),
      serial: ++this.#serial,
      run,
      heapIndex: -1,
    };
    this.#queue.push(event);
    return event;
  }

  /** For contexts: has an event not happen. */
  cancel(event: SimEvent): void {
    if (event.heapIndex !== -1) this.#queue.remove(event);
  }

  /**
   * For contexts: lets others go on while one waits inside a callback, until `over`. Promise jobs do
   * not run.
   */
  runNested(over: () => boolean): void {
    const { current } = this;
    while (!over()) {
      const event = this.#nextEvent();
      if (event === undefined) throw this.#failure(`${current!.name} waits for ever in poll(true)`);
      this.#happen(event);
    }
    this.current = current;
  }

  async #runWhile(wanted: () => boolean, until: number): Promise<void> {
    assert(!this.#running, 'a world runs once at a time');
    this.#running = true;
    try {
      await runMacrotasks(() => this.#step(wanted, until));
    } finally {
      this.#running = false;
      this.current = null;
    }
  }

  /** Lets one event happen. False when the world has come as far as wanted. */
  #step(wanted: () => boolean, until: number): boolean {
    if (this.#bug !== undefined) throw this.#bugFailure(this.#bug.error);
    if (!wanted()) return false;
    const event = this.#nextEvent();
    if (event === undefined && until === Infinity) {
      const waiting = this.#contexts.map((context) => context.unheard).filter((why) => why !== '');
      throw this.#failure(['nothing is left to happen', ...waiting].join('; '));
    }
    if (event === undefined || event.at > until) {
      this.#now = until;
      return false;
    }
    this.#happen(event);
    return true;
  }

  #nextEvent(): SimEvent | undefined {
    for (const context of this.#contexts) context.hearDoorbell();
    return this.#queue.peek();
  }

  #happen(event: SimEvent): void {
    this.#queue.remove(event);
    this.#now = event.at;
    this.events += 1;
    this.#trace.add(event);
    if (this.events > this.#maxEvents)
      throw this.#failure(`no end after ${this.#maxEvents} events`);
    this.current = event.context;
    try {
      event.run();
    } catch (error) {
      this.reportBug(error);
    }
  }

  #bugFailure(error: unknown): SimFailure {
    if (error instanceof SimFailure) return error;
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return this.#failure(what, error);
  }

  #failure(what: string, cause?: unknown): SimFailure {
    const where = `seed ${this.seed}, event ${this.events}`;
    return new SimFailure(`${where}: ${what}\n${this.#trace.tail()}`, { cause });
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  if (a.at !== b.at) return a.at < b.at;
  return a.order < b.order || (a.order === b.order && a.serial < b.serial);
}
