// A thread of a simulated world and its loop: the parts of every AioContext, turned by events. It goes
// through what a worker's loop goes through - turns, busy waiting, sleep on a doorbell - and takes
// from the seed how long each takes. A thread that sleeps with no host work outstanding sleeps in
// `Atomics.wait`: what the host has for it waits, as in a worker, until something else wakes it.

import { assert } from '../base/assert.ts';
import { DOORBELL_SEQ, DOORBELL_SLEEPING, DOORBELL_WORDS } from '../aio/event-notifier.ts';
import { LoopContext } from '../aio/loop-context.ts';
import type { BottomHalf, EventHandler, Timer } from '../aio/aio-context.ts';
import type { EventNotifier } from '../aio/event-notifier.ts';
import { DEFAULT_POLL, PollPolicy } from '../aio/poll-policy.ts';
import type { PollSettings } from '../aio/poll-policy.ts';
import { SimInbox } from './sim-inbox.ts';
import { HOST_TURN, MESSAGE, TURN, WAKE, draw } from './sim-latency.ts';
import type { Latency } from './sim-latency.ts';
import type { SimEvent, SimWorld } from './sim-world.ts';

export interface SimContextOptions {
  /** False for a page, whose thread never blocks. Default true. */
  readonly mayBlock?: boolean;
  readonly poll?: PollSettings;
}

/** Turns that a busy loop makes, at most, without a promise job in between. */
const MAX_BURST = 3;

export class SimContext extends LoopContext {
  /** What the loop sleeps on, for those who make event notifiers. */
  readonly doorbell: Int32Array = new Int32Array(new SharedArrayBuffer(4 * DOORBELL_WORDS));
  readonly pollPolicy: PollPolicy;
  readonly #world: SimWorld;
  readonly #mayBlock: boolean;
  /** How many times as long as others' its turns and wake-ups take. */
  readonly #slowness: number;
  /** The loop's next turn or look at its handlers; none while it sleeps without a deadline. */
  #next: SimEvent | undefined;
  /** The loop waits: it looks at its handlers (`#polling`), or it sleeps. */
  #polling = false;
  #asleep = false;
  /** It sleeps, and a turn is on its way. */
  #woken = false;
  /** It sleeps in `Atomics.wait`. */
  #blocked = false;
  #waitsSince = 0;
  #pollsUntil = 0;
  #sleepSeq = 0;
  /** Depth of `poll(true)`: callbacks of this thread are on the stack. */
  #nested = 0;
  readonly #inbox: SimInbox;
  #alive = true;
  /** Another thread does what other threads may. */
  #fromOutside = false;

  /** Made by `SimWorld.newContext`. */
  constructor(world: SimWorld, name: string, options: SimContextOptions) {
    super(name, (error) => world.reportBug(error));
    this.#world = world;
    this.pollPolicy = new PollPolicy(options.poll ?? DEFAULT_POLL);
    this.#mayBlock = options.mayBlock ?? true;
    this.#inbox = new SimInbox({
      world,
      context: this,
      deaf: () => this.#blocked || this.#nested > 0,
      ring: () => this.wake(),
    });
    this.#slowness = world.prng.pick([1, 1, 1, 4, 32]);
    this.#turnAfter(TURN, 'start');
  }

  now(): number {
    return this.#world.now();
  }
  random(): number {
    return this.#world.prng.next() / 2 ** 32;
  }

  override newBottomHalf(callback: () => void): BottomHalf {
    this.#assertHome();
    return super.newBottomHalf(callback);
  }
  override newTimer(callback: () => void): Timer {
    this.#assertHome();
    return super.newTimer(callback);
  }
  override setEventNotifier(notifier: EventNotifier, handler: EventHandler | null): void {
    this.#assertHome();
    super.setEventNotifier(notifier, handler);
  }
  override sleep(ns: number, signal?: AbortSignal): Promise<void> {
    this.#assertHome();
    return super.sleep(ns, signal);
  }
  override hostTurn(): Promise<void> {
    return this.track(this.completion('turn of the host', HOST_TURN));
  }
  override track<T>(promise: Promise<T>): Promise<T> {
    this.#assertHome();
    return super.track(promise);
  }

  /** From any thread. */
  override scheduleOneshot(callback: () => void): void {
    this.#fromOutside = true;
    super.scheduleOneshot(callback);
    this.#fromOutside = false;
  }

  /** From any thread. */
  notify(): void {
    this.#fromOutside = true;
    this.wake();
    this.#fromOutside = false;
  }

  /**
   * As AioContext.poll. While it blocks other threads go on, but no promise job runs, theirs neither;
   * what the host and others send to this thread waits.
   */
  poll(blocking: boolean): boolean {
    this.#assertHome();
    let progress = this.turn(this.now());
    if (progress || !blocking) return progress;
    assert(this.#mayBlock, `${this.name}: poll(true) on a thread that must not block`);
    assert(this.hostWork === 0, `${this.name}: poll(true) while host work is outstanding`);
    // Called by a host event or a message, which came between two turns, it does what the next would.
    const betweenTurns = this.#next !== undefined || this.#asleep;
    this.#waitOver();
    this.#nested += 1;
    while (!progress) {
      if (this.#fallAsleep()) this.#world.runNested(() => !this.#asleep);
      progress = this.turn(this.now());
    }
    this.#nested -= 1;
    if (betweenTurns) this.#turnAfter(TURN, 'busy');
    return true;
  }

  /**
   * After `latency`, which may be a number of nanoseconds, the host calls back on this thread: the end
   * of a transaction, of a fetch. Answers what cancels it.
   */
  hostEvent(label: string, latency: Latency | number, callback: () => void): () => void {
    this.#assertHome();
    return this.#inbox.host(label, latency, callback);
  }

  /** Resolves after `latency`, as a call of the host's does. */
  completion(label: string, latency: Latency | number): Promise<void> {
    return new Promise((resolve) => this.hostEvent(label, latency, resolve));
  }

  /** Has `callback` run on this thread, after what the same thread posted before. From any thread. */
  post(label: string, callback: () => void, latency: Latency | number = MESSAGE): void {
    this.#inbox.message(label, latency, callback);
  }

  /**
   * Calls `body` on this thread, as a control call does, and brings its answer back to the caller's.
   * From any thread.
   */
  call<T>(label: string, body: () => T | Promise<T>): Promise<T> {
    const caller = this.#world.current;
    return new Promise((resolve, reject) => {
      const answer = (settle: () => void): void => {
        if (caller === null) settle();
        else caller.post(`${label}: answer`, settle);
      };
      this.post(label, () => {
        this.track((async () => body())()).then(
          (value) => answer(() => resolve(value)),
          (error: Error) => answer(() => reject(error)),
        );
      });
    });
  }

  /** Ends the thread where it stands, as `Worker.terminate` does: nothing happens on it any more. */
  terminate(): void {
    this.#alive = false;
    this.#inbox.close();
    if (this.#next !== undefined) this.#world.cancel(this.#next);
  }

  /** For the world: looks whether somebody rang while the loop sleeps. */
  hearDoorbell(): void {
    if (!this.#asleep || this.#woken) return;
    if (Atomics.load(this.doorbell, DOORBELL_SEQ) !== this.#sleepSeq) this.#wakeUp('rung');
  }

  /** For the world: what is stuck here, in words; empty when nothing is. */
  get unheard(): string {
    const labels = this.#inbox.waiting.join(', ');
    if (labels === '') return '';
    return `'${this.name}' sleeps in Atomics.wait and does not hear ${labels}: it was not tracked`;
  }

  protected override wake(): void {
    if (!this.#fromOutside) this.#assertHome();
    if (this.#polling || (this.#asleep && !this.#woken)) this.#wakeUp('woken');
    // Else it makes turns, and looks at everything before it waits.
  }

  #wakeUp(why: string): void {
    this.#woken = this.#asleep;
    this.#turnAfter(this.#asleep ? WAKE : TURN, why);
  }

  #turnAfter(latency: Latency, why: string): void {
    this.#schedule('turn', why, draw(latency, this.#world.prng) * this.#slowness, this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#waitOver();
    // Inside `poll(true)` the turn is made there.
    if (this.#nested > 0) return;
    let progress = this.turn(this.now());
    for (let i = this.#world.prng.below(MAX_BURST); i > 0 && progress; i--) {
      progress = this.turn(this.now());
    }
    if (progress || this.halves.pending) return this.#turnAfter(TURN, 'busy');
    this.#waitsSince = this.now();
    this.#pollsUntil = Math.min(this.now() + this.pollPolicy.ns, this.deadline(this.now()));
    this.#waitBusily();
  };

  /** Looks at some moments of the time that polling may take, then sleeps. */
  #waitBusily(): void {
    const left = this.#pollsUntil - this.now();
    if (left > 0 && this.handlers.polled > 0 && this.#mayBlock && this.hostWork === 0) {
      this.#polling = true;
      this.#schedule('poll', '', 1 + this.#world.prng.below(left), this.#onPoll);
    } else if (!this.#fallAsleep()) this.#turnAfter(TURN, 'busy');
  }

  readonly #onPoll = (): void => {
    this.#polling = false;
    if (this.handlers.look(this.now()) || this.halves.pending) {
      this.pollPolicy.adapt(this.now() - this.#waitsSince);
      this.#turnAfter(TURN, 'busy');
    } else this.#waitBusily();
  };

  /** False when there is something to do after all. */
  #fallAsleep(): boolean {
    this.#sleepSeq = Atomics.load(this.doorbell, DOORBELL_SEQ);
    Atomics.store(this.doorbell, DOORBELL_SLEEPING, 1);
    if (this.handlers.lastLook() || this.halves.pending) {
      Atomics.store(this.doorbell, DOORBELL_SLEEPING, 0);
      return false;
    }
    this.#asleep = true;
    const now = this.now();
    const deadline = this.deadline(now);
    if (deadline !== Infinity) {
      const late = draw(WAKE, this.#world.prng) * this.#slowness;
      this.#schedule('turn', 'deadline', Math.max(0, deadline - now) + late, this.#onTurn);
    }
    this.#blocked = this.#mayBlock && this.hostWork === 0 && !this.#inbox.hasMessages;
    if (!this.#blocked && this.#nested === 0) this.#inbox.hear();
    return true;
  }

  /** The loop was waiting, perhaps, and is not any more. */
  #waitOver(): void {
    if (this.#next !== undefined) this.#world.cancel(this.#next);
    this.#next = undefined;
    if (this.#asleep || this.#polling) this.pollPolicy.adapt(this.now() - this.#waitsSince);
    if (this.#asleep) Atomics.store(this.doorbell, DOORBELL_SLEEPING, 0);
    this.#asleep = this.#woken = this.#polling = this.#blocked = false;
  }

  /** What the loop does next, instead of what it would have done. */
  #schedule(kind: 'turn' | 'poll', label: string, delay: number, run: () => void): void {
    if (this.#next !== undefined) this.#world.cancel(this.#next);
    this.#next = this.#world.schedule(this, kind, label, delay, () => {
      this.#next = undefined;
      if (this.#alive) run();
    });
  }

  #assertHome(): void {
    const { current } = this.#world;
    if (current === null || current === this) return;
    const error = new Error(`'${current.name}' calls the context of '${this.name}'`);
    this.#world.reportBug(error);
    throw error;
  }
}
