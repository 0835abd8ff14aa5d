// The event loop of an IOThread. It polls, runs what is ready, then sleeps: in `Atomics.wait` when
// nothing of the host's is outstanding, else in `Atomics.waitAsync`, so that fetches, IndexedDB and
// messages can settle. The wake-up is QEMU's notify protocol on seq-cst Atomics: publish "sleeping",
// look again, sleep on the sequence number read before. Without shared memory all that can bring work
// runs on this thread - messages, host work, timers - and the loop just waits to be told by it.

import { assert } from '../base/assert.ts';
import { isShared } from '../base/shared-buffer.ts';
import type { Clock } from '../host/host.ts';
import {
  DOORBELL_POSTED,
  DOORBELL_RECEIVED,
  DOORBELL_SEQ,
  DOORBELL_SLEEPING,
} from './event-notifier.ts';
import { LoopContext } from './loop-context.ts';
import { PollPolicy } from './poll-policy.ts';

/** A busy loop lets the host have a turn this often while host work is outstanding. */
const MAX_BUSY_NS = 500_000;
/** Polling looks at the clock once in this many rounds: a reading costs more than a look. */
const ROUNDS_PER_CLOCK = 8;
/** Longest asynchronous sleep. WebKit forgets `waitAsync` in a worker that has no timer running. */
const KEEP_ALIVE_MS = 10;
/** Longest that a thread without `waitAsync` (Firefox before 145) is deaf to its host, at a time. */
const SLICE_MS = 1;

/** Counts for `query-iothreads`, and for tests that assert what sleeping cost. */
export interface LoopCounters {
  /** Rounds of ready work and handlers. */
  turns: number;
  /** Sleeps in `Atomics.wait`: nothing but a doorbell or a timer could bring work. */
  blockingSleeps: number;
  /** Sleeps during which the host could be heard. */
  asyncSleeps: number;
  /** Busy waits that found something. */
  pollHits: number;
  /** Busy waits in vain. */
  pollMisses: number;
  /** Callbacks that threw. */
  bugs: number;
}

export class WorkerContext extends LoopContext {
  readonly counters: LoopCounters;
  readonly pollPolicy: PollPolicy = new PollPolicy();
  readonly #clock: Clock;
  readonly #doorbell: Int32Array;
  readonly #shared: boolean;
  /** Host work settled: those who await it get a turn before the loop may block. */
  #justSettled = false;
  #running = false;
  /** Ends an asynchronous sleep on this thread. */
  #wakeUp: (() => void) | undefined;
  /** A `waitAsync` that has not settled; it stays registered, so the next sleep uses it again. */
  #pendingWait: Promise<unknown> | undefined;

  /**
   * `doorbell`: DOORBELL_WORDS words that producers ring (see event-notifier.ts). Where they are not
   * shared, who sets a notifier calls `notify` besides. `onBug` hears what a callback of the loop
   * throws; unless given, that goes uncaught, and the loop goes on.
   */
  constructor(
    name: string,
    clock: Clock,
    doorbell: Int32Array,
    onBug: (error: unknown) => void = (error) => {
      clock.setTimer(() => {
        throw error;
      }, 0);
    },
  ) {
    // prettier-ignore
    const counters: LoopCounters = {
      turns: 0, blockingSleeps: 0, asyncSleeps: 0, pollHits: 0, pollMisses: 0, bugs: 0,
    };
    super(name, (error) => {
      counters.bugs += 1;
      onBug(error);
    });
    this.counters = counters;
    this.#clock = clock;
    this.#doorbell = doorbell;
    this.#shared = isShared(doorbell.buffer);
  }

  now(): number {
    return this.#clock.now();
  }
  random(): number {
    return this.#clock.random();
  }

  override hostTurn(): Promise<void> {
    return this.track(this.#clock.turn());
  }

  notify(): void {
    this.wake();
    Atomics.add(this.#doorbell, DOORBELL_SEQ, 1);
    Atomics.notify(this.#doorbell, DOORBELL_SEQ);
  }

  protected override wake(): void {
    this.#wakeUp?.();
  }

  protected override hostWorkSettled(): void {
    this.#justSettled = true;
    this.wake();
  }

  /** Runs the loop until `stop`. */
  async run(): Promise<void> {
    this.#running = true;
    let busySince = this.now();
    while (this.#running) {
      const started = this.now();
      if (this.turn(started)) {
        if (started - busySince > MAX_BUSY_NS && !this.#mayBlock()) {
          await this.#clock.turn();
          busySince = this.now();
        }
        continue;
      }
      if (this.#justSettled) {
        this.#justSettled = false;
        await this.#clock.turn();
        busySince = this.now();
        continue;
      }
      if (!this.#busyWait(started)) await this.#sleep();
      Atomics.store(this.#doorbell, DOORBELL_SLEEPING, 0);
      busySince = this.now();
      this.pollPolicy.adapt(busySince - started);
    }
  }

  /** Ends `run` after its present turn. */
  stop(): void {
    this.#running = false;
    this.notify();
  }

  poll(blocking: boolean): boolean {
    let progress = this.turn(this.now());
    if (progress || !blocking) return progress;
    assert(this.#shared, `${this.name}: poll(true) without shared memory to sleep on`);
    assert(this.hostWork === 0, `${this.name}: poll(true) while host work is outstanding`);
    while (!progress) {
      const seq = Atomics.load(this.#doorbell, DOORBELL_SEQ);
      if (!this.#lastLook()) this.#block(seq);
      Atomics.store(this.#doorbell, DOORBELL_SLEEPING, 0);
      progress = this.turn(this.now());
    }
    return true;
  }

  protected override turn(now: number): boolean {
    this.counters.turns += 1;
    return super.turn(now);
  }

  /** Polls for the policy's budget, while no host work could need the thread. */
  #busyWait(started: number): boolean {
    const budget = this.pollPolicy.ns;
    if (budget === 0 || this.handlers.polled === 0 || !this.#mayBlock()) return false;
    const end = Math.min(started + budget, this.deadline(started));
    let now = started;
    do {
      for (let i = 0; i < ROUNDS_PER_CLOCK; i++) {
        if (this.handlers.look(now)) {
          this.counters.pollHits += 1;
          return true;
        }
      }
      if (!this.#mayBlock()) return false;
      now = this.now();
    } while (now < end);
    this.counters.pollMisses += 1;
    return false;
  }

  /** Publishes "sleeping", then looks once more. True when there is something to do after all. */
  #lastLook(): boolean {
    Atomics.store(this.#doorbell, DOORBELL_SLEEPING, 1);
    return this.handlers.lastLook() || this.halves.pending;
  }

  /** True when nothing but a doorbell, a timer or a kick can bring new work. */
  #mayBlock(): boolean {
    return (
      this.#shared &&
      this.hostWork === 0 &&
      Atomics.load(this.#doorbell, DOORBELL_POSTED) ===
        Atomics.load(this.#doorbell, DOORBELL_RECEIVED)
    );
  }

  async #sleep(): Promise<void> {
    // Read before "sleeping" is published: a producer that sees the flag bumps it afterwards.
    const seq = Atomics.load(this.#doorbell, DOORBELL_SEQ);
    if (this.#lastLook() || !this.#running) return;
    if (this.#mayBlock()) return this.#block(seq);
    this.counters.asyncSleeps += 1;
    if (!this.#shared) return this.#sleepAsync(seq, this.#sleepMs());
    if (typeof Atomics.waitAsync === 'function') {
      return this.#sleepAsync(seq, Math.min(this.#sleepMs(), KEEP_ALIVE_MS));
    }
    Atomics.wait(this.#doorbell, DOORBELL_SEQ, seq, Math.min(this.#sleepMs(), SLICE_MS));
    await this.#clock.turn();
  }

  #block(seq: number): void {
    this.counters.blockingSleeps += 1;
    Atomics.wait(this.#doorbell, DOORBELL_SEQ, seq, this.#sleepMs());
  }

  /** Until the next deadline. */
  #sleepMs(): number {
    const now = this.now();
    return Math.max(this.deadline(now) - now, 0) / 1e6;
  }

  /** `ms`: Infinity sets no timer. */
  #sleepAsync(seq: number, ms: number): Promise<void> {
    return new Promise((resolve) => {
      let cancelTimer = (): void => {};
      const wake = (): void => {
        if (this.#wakeUp !== wake) return;
        this.#wakeUp = undefined;
        cancelTimer();
        resolve();
      };
      this.#wakeUp = wake;
      if (ms !== Infinity) cancelTimer = this.#clock.setTimer(wake, ms);
      if (!this.#shared || this.#pendingWait !== undefined) return;
      const wait = Atomics.waitAsync(this.#doorbell, DOORBELL_SEQ, seq);
      if (!wait.async) return wake();
      this.#pendingWait = wait.value;
      void wait.value.then(() => {
        this.#pendingWait = undefined;
        this.#wakeUp?.();
      });
    });
  }
}
