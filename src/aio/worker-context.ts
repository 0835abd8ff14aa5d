// The event loop of an IOThread. It polls, runs what is ready, then sleeps: in `Atomics.wait` when
// nothing of the host's is outstanding, else in `Atomics.waitAsync`, so that fetches, IndexedDB and
// messages can settle. The wake-up is QEMU's notify protocol on seq-cst Atomics: publish "sleeping",
// look again, sleep on the sequence number read before.

import type { Clock } from '../host/host.ts';
import type { AioContext, BottomHalf, EventHandler, Timer } from './aio-context.ts';
import { BottomHalves } from './bottom-halves.ts';
import {
  DOORBELL_POSTED,
  DOORBELL_RECEIVED,
  DOORBELL_SEQ,
  DOORBELL_SLEEPING,
} from './event-notifier.ts';
import type { EventNotifier } from './event-notifier.ts';
import { PollPolicy } from './poll-policy.ts';
import { TimerList } from './timers.ts';

/** A busy loop lets the host have a turn this often while host work is outstanding. */
const MAX_BUSY_NS = 500_000;
/** Polling looks at the clock once in this many rounds: a reading costs more than a look. */
const ROUNDS_PER_CLOCK = 8;
/** Longest asynchronous sleep. WebKit forgets `waitAsync` in a worker that has no timer running. */
const KEEP_ALIVE_MS = 10;

/** Counts for `query-iothreads`, and for tests that assert what sleeping cost. */
export interface LoopCounters {
  turns: number;
  blockingSleeps: number;
  asyncSleeps: number;
  pollHits: number;
  pollMisses: number;
}

interface Watch {
  readonly notifier: EventNotifier;
  readonly handler: EventHandler;
}

export class WorkerContext implements AioContext {
  readonly name: string;
  readonly counters: LoopCounters = {
    turns: 0,
    blockingSleeps: 0,
    asyncSleeps: 0,
    pollHits: 0,
    pollMisses: 0,
  };
  readonly poll: PollPolicy = new PollPolicy();
  readonly #clock: Clock;
  readonly #doorbell: Int32Array;
  readonly #halves: BottomHalves;
  readonly #timers: TimerList;
  #watches: readonly Watch[] = [];
  #hostWork = 0;
  /** Host work settled: those who await it get a turn before the loop may block. */
  #justSettled = false;
  #running = false;
  /** Ends an asynchronous sleep on this thread. */
  #wakeUp: (() => void) | undefined;
  /** A `waitAsync` that has not settled; it stays registered, so the next sleep uses it again. */
  #pendingWait: Promise<unknown> | undefined;

  /** `doorbell`: DOORBELL_WORDS shared words that producers ring (see event-notifier.ts). */
  constructor(name: string, clock: Clock, doorbell: Int32Array) {
    this.name = name;
    this.#clock = clock;
    this.#doorbell = doorbell;
    const wake = (): void => this.#wakeUp?.();
    this.#halves = new BottomHalves(wake);
    this.#timers = new TimerList(wake);
  }

  now(): number {
    return this.#clock.now();
  }
  random(): number {
    return this.#clock.random();
  }
  newBottomHalf(callback: () => void): BottomHalf {
    return this.#halves.make(callback);
  }
  scheduleOneshot(callback: () => void): void {
    this.#halves.make(callback).schedule();
  }
  newTimer(callback: () => void): Timer {
    return this.#timers.make(callback);
  }

  sleep(ns: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        timer.del();
        reject(signal!.reason as Error);
      };
      const timer = this.newTimer(() => {
        signal?.removeEventListener('abort', abort);
        resolve();
      });
      if (signal?.aborted === true) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      timer.mod(this.now() + ns);
    });
  }

  setEventNotifier(notifier: EventNotifier, handler: EventHandler | null): void {
    const others = this.#watches.filter((watch) => watch.notifier !== notifier);
    this.#watches = handler === null ? others : [...others, { notifier, handler }];
    this.#wakeUp?.();
  }

  /** Host operations that have not settled. */
  get hostWork(): number {
    return this.#hostWork;
  }

  track<T>(promise: Promise<T>): Promise<T> {
    this.#hostWork += 1;
    const done = (): void => {
      this.#hostWork -= 1;
      this.#justSettled = true;
      this.#wakeUp?.();
    };
    promise.then(done, done);
    return promise;
  }

  notify(): void {
    this.#wakeUp?.();
    Atomics.add(this.#doorbell, DOORBELL_SEQ, 1);
    Atomics.notify(this.#doorbell, DOORBELL_SEQ);
  }

  /** Runs the loop until `stop`. */
  async run(): Promise<void> {
    this.#running = true;
    let busySince = this.now();
    while (this.#running) {
      const started = this.now();
      if (this.#turn(started)) {
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
      this.poll.adapt(busySince - started);
    }
  }

  /** Ends `run` after its present turn. */
  stop(): void {
    this.#running = false;
    this.notify();
  }

  /** One turn: bottom halves, handlers, timers. True when something was done. */
  #turn(now: number): boolean {
    this.counters.turns += 1;
    let progress = this.#halves.run();
    progress = this.#look() || progress;
    if (!this.#timers.empty) progress = this.#timers.run(now) || progress;
    return progress;
  }

  #look(): boolean {
    let progress = false;
    for (const { notifier, handler } of this.#watches) {
      if (notifier.testAndClear()) {
        handler.onRead();
        progress = true;
      } else if (handler.onPoll?.() === true) {
        progress = true;
      }
    }
    return progress;
  }

  /** Polls for the policy's budget, while no host work could need the thread. */
  #busyWait(started: number): boolean {
    const budget = this.poll.ns;
    if (budget === 0 || !this.#mayBlock()) return false;
    const end = Math.min(started + budget, this.#timers.deadline());
    do {
      for (let i = 0; i < ROUNDS_PER_CLOCK; i++) {
        if (this.#look()) {
          this.counters.pollHits += 1;
          return true;
        }
      }
      if (!this.#mayBlock()) return false;
    } while (this.now() < end);
    this.counters.pollMisses += 1;
    return false;
  }

  /** Publishes "sleeping", then looks once more. True when there is something to do after all. */
  #lastLook(): boolean {
    Atomics.store(this.#doorbell, DOORBELL_SLEEPING, 1);
    let work = this.#halves.pending || !this.#running;
    for (const { notifier, handler } of this.#watches) {
      if (handler.onSleep?.() === true) work = true;
      if (notifier.isSet()) work = true;
    }
    return work;
  }

  /** True when nothing but a doorbell, a timer or a kick can bring new work. */
  #mayBlock(): boolean {
    return (
      this.#hostWork === 0 &&
      Atomics.load(this.#doorbell, DOORBELL_POSTED) ===
        Atomics.load(this.#doorbell, DOORBELL_RECEIVED)
    );
  }

  async #sleep(): Promise<void> {
    // Read before "sleeping" is published: a producer that sees the flag bumps it afterwards.
    const seq = Atomics.load(this.#doorbell, DOORBELL_SEQ);
    if (this.#lastLook()) return;
    const deadline = this.#timers.deadline();
    const ms = deadline === Infinity ? Infinity : Math.max(deadline - this.now(), 0) / 1e6;
    if (this.#mayBlock()) {
      this.counters.blockingSleeps += 1;
      Atomics.wait(this.#doorbell, DOORBELL_SEQ, seq, ms);
      return;
    }
    this.counters.asyncSleeps += 1;
    await this.#sleepAsync(seq, Math.min(ms, KEEP_ALIVE_MS));
  }

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
      cancelTimer = this.#clock.setTimer(wake, ms);
      if (this.#pendingWait !== undefined) return;
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
