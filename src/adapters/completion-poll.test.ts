import { describe, expect, it } from 'vitest';
import { CompletionPoll } from './completion-poll.ts';

/** A clock that only looking at it moves, by 5 µs. */
function tickingClock(): { now: () => number; looks: () => number } {
  let looks = 0;
  return { now: () => looks++ * 0.005, looks: () => looks };
}

describe('CompletionPoll', () => {
  it('waits for 200 µs at most', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    expect(poll.wait(() => false)).toBe(false);
    expect(clock.looks()).toBeGreaterThanOrEqual(40);
    expect(clock.looks()).toBeLessThanOrEqual(42);
    expect([poll.hits, poll.misses, poll.skipped]).toEqual([0, 1, 0]);
  });

  it('finds a thread that takes 100 µs to wake, every time', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    for (let i = 0; i < 100; i++) {
      const awake = clock.looks() + 20; // 5 µs each
      expect(poll.wait(() => clock.looks() >= awake)).toBe(true);
    }
    expect([poll.hits, poll.misses, poll.skipped]).toEqual([100, 0, 0]);
  });

  it('does not wait, nor look at the clock, for what is there already', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    expect(poll.wait(() => true)).toBe(true);
    expect(clock.looks()).toBe(0);
  });

  it('tries less often while it is in vain, and is back with the first hit', () => {
    const poll = new CompletionPoll(tickingClock().now);
    const tries: number[] = [];
    for (let i = 0; i < 40; i++) {
      const before = poll.misses;
      poll.wait(() => false);
      if (poll.misses > before) tries.push(i);
    }
    expect(tries).toEqual([0, 1, 3, 6, 11, 20, 37]);
    /** Would be there after five looks. */
    const quick = (): boolean => {
      let asked = 0;
      return poll.wait(() => ++asked > 5);
    };
    let opportunities = 1;
    while (!quick()) opportunities += 1;
    expect(opportunities).toBeLessThanOrEqual(65);
    const { misses, skipped } = poll;
    for (let i = 0; i < 10; i++) expect(quick()).toBe(true);
    expect(poll.wait(() => false)).toBe(false);
    expect([poll.misses, poll.skipped]).toEqual([misses + 1, skipped]);
  });

  it('wastes little on a graph that is never in time', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    for (let i = 0; i < 10_000; i++) poll.wait(() => false);
    expect(poll.misses + poll.skipped).toBe(10_000);
    expect(poll.misses).toBeLessThan(170); // of 200 µs: 3.4 µs a request
  });
});
