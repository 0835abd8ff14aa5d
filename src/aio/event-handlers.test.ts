import { describe, expect, it } from 'vitest';
import type { EventHandler } from './aio-context.ts';
import { EventHandlers, POLL_IDLE_NS } from './event-handlers.ts';
import { DOORBELL_WORDS, EventNotifier } from './event-notifier.ts';

const SECOND = 1e9;

function setUp(): {
  handlers: EventHandlers;
  errors: unknown[];
  notifier: (index: number) => EventNotifier;
} {
  const errors: unknown[] = [];
  const words = new Int32Array(16);
  const doorbell = new Int32Array(DOORBELL_WORDS);
  return {
    handlers: new EventHandlers((error) => errors.push(error)),
    errors,
    notifier: (index) => new EventNotifier(words, index, doorbell),
  };
}

/** A handler whose work the test lays out, and which counts what it is asked. */
function counting(): EventHandler & { work: number; polls: number; reads: number; sleeps: number } {
  return {
    work: 0,
    polls: 0,
    reads: 0,
    sleeps: 0,
    onRead(): void {
      this.reads += 1;
    },
    onPoll(): boolean {
      this.polls += 1;
      return this.work > 0 && this.work-- > 0;
    },
    onSleep(): boolean {
      this.sleeps += 1;
      return this.work > 0;
    },
  };
}

describe('event handlers', () => {
  it('read a notifier once that was set twice, else poll', () => {
    const { handlers, notifier } = setUp();
    const [handler, bell] = [counting(), notifier(0)];
    handlers.set(bell, handler, 0);
    bell.set();
    bell.set();
    expect([handlers.look(0), handlers.look(0)]).toEqual([true, false]);
    handler.work = 1;
    expect([handlers.look(0), handlers.look(0)]).toEqual([true, false]);
    expect([handler.reads, handler.polls]).toEqual([1, 3]);
    handlers.set(bell, null, 0);
    bell.set();
    expect([handlers.look(0), handlers.lastLook(), handlers.polled]).toEqual([false, false, 0]);
  });

  it('all ask to be told before the loop sleeps, and say what came since', () => {
    const { handlers, notifier } = setUp();
    const [first, second] = [counting(), counting()];
    const bell = notifier(1);
    handlers.set(notifier(0), first, 0);
    handlers.set(bell, second, 0);
    expect(handlers.lastLook()).toBe(false);
    first.work = 1;
    expect(handlers.lastLook()).toBe(true);
    first.work = 0;
    bell.set();
    expect(handlers.lastLook()).toBe(true);
    expect([first.sleeps, second.sleeps]).toEqual([3, 3]);
  });

  it('leave polling after seven idle seconds, and come back with an event', () => {
    const { handlers, notifier } = setUp();
    const [idle, busy, bell] = [counting(), counting(), notifier(0)];
    handlers.set(bell, idle, 0);
    handlers.set(notifier(1), busy, 0);
    busy.work = 1;
    handlers.look(3 * SECOND);
    handlers.look(POLL_IDLE_NS - 1);
    expect(handlers.polled).toBe(2);
    handlers.look(POLL_IDLE_NS);
    expect([handlers.polled, idle.sleeps, busy.sleeps]).toEqual([1, 1, 0]);
    const { polls } = idle;
    handlers.look(8 * SECOND);
    expect(idle.polls).toBe(polls);
    bell.set();
    expect(handlers.look(9 * SECOND)).toBe(true);
    expect([idle.reads, handlers.polled]).toEqual([1, 2]);
    handlers.look(9 * SECOND);
    expect(idle.polls).toBe(polls + 1);
    handlers.look(10 * SECOND);
    expect([handlers.polled, busy.sleeps]).toEqual([1, 1]);
  });

  it('stay when work comes while they leave', () => {
    const { handlers, notifier } = setUp();
    const handler = counting();
    // Work that polling missed by a hair: there when the handler asks to be told.
    const asks = handler.onSleep!.bind(handler);
    handler.onSleep = (): boolean => {
      handler.work = 1;
      return asks();
    };
    handlers.set(notifier(0), handler, 0);
    expect(handlers.look(POLL_IDLE_NS)).toBe(false);
    expect(handlers.polled).toBe(1);
    expect(handlers.look(POLL_IDLE_NS)).toBe(true);
  });

  it('do not hear of what happens in the same look after they were taken off', () => {
    const { handlers, notifier } = setUp();
    const [bells, second] = [[notifier(0), notifier(1)], counting()];
    const first: EventHandler = { onRead: () => handlers.set(bells[1]!, null, 0) };
    handlers.set(bells[0]!, first, 0);
    handlers.set(bells[1]!, second, 0);
    for (const bell of bells) bell.set();
    handlers.look(0);
    expect([second.reads, second.polls]).toEqual([0, 0]);
  });

  it('are not called by a nested look before they returned', () => {
    const { handlers, notifier } = setUp();
    const [bell, other] = [notifier(0), counting()];
    let depth = 0;
    const nesting: EventHandler = {
      onRead: () => {
        expect(depth++).toBe(0);
        bell.set();
        other.work = 1;
        expect(handlers.look(0)).toBe(true);
        expect([handlers.look(0), handlers.lastLook()]).toEqual([false, false]);
        depth -= 1;
      },
    };
    handlers.set(bell, nesting, 0);
    handlers.set(notifier(1), other, 0);
    bell.set();
    expect(handlers.look(0)).toBe(true);
    expect(bell.isSet()).toBe(true);
  });

  it('do not lose the others when one throws', () => {
    const { handlers, errors, notifier } = setUp();
    const [error, other] = [new Error('a bug'), counting()];
    const throws = (): never => {
      throw error;
    };
    handlers.set(notifier(0), { onRead: throws, onPoll: throws, onSleep: throws }, 0);
    handlers.set(notifier(1), other, 0);
    handlers.look(0);
    handlers.lastLook();
    expect([errors, other.polls, other.sleeps]).toEqual([[error, error], 1, 1]);
  });
});
