import { describe, expect, it } from 'vitest';
import { CompletionPoll } from './completion-poll.ts';

/** A clock that only looking at it moves, by 5 µs. */
function tickingClock(): { now: () => number; looks: () => number } {
  let looks = 0;
  return { now: () => looks++ * 0.005, looks: () => looks };
}

describe('CompletionPoll', () => {
  it('grows while it hits, up to 200 µs', () => {
    const poll = new CompletionPoll(tickingClock().now);
    const budgets: number[] = [];
    for (let i = 0; i < 4; i++) {
      let asked = 0;
      expect(poll.wait(() => ++asked > 3)).toBe(true);
      budgets.push(poll.budget);
    }
    expect(budgets).toEqual([0.1, 0.2, 0.2, 0.2]);
    expect([poll.hits, poll.misses]).toEqual([4, 0]);
  });

  it('does not wait, nor look at the clock, for what is there already', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    expect(poll.wait(() => true)).toBe(true);
    expect(clock.looks()).toBe(0);
  });

  it('shrinks while it misses, and turns itself off', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    const budgets: number[] = [];
    for (let i = 0; i < 3; i++) {
      expect(poll.wait(() => false)).toBe(false);
      budgets.push(poll.budget);
    }
    expect(budgets).toEqual([0.025, 0.0125, 0]);
    const looks = clock.looks();
    for (let i = 0; i < 16; i++) expect(poll.wait(() => false)).toBe(false);
    expect(clock.looks()).toBe(looks);
    expect(poll.skipped).toBe(16);
    let asked = 0;
    expect(poll.wait(() => ++asked > 5)).toBe(true); // tries again, and is back
    expect(poll.budget).toBe(0.1);
  });

  it('wastes little on a graph that is never in time: it tries less and less often', () => {
    const clock = tickingClock();
    const poll = new CompletionPoll(clock.now);
    for (let i = 0; i < 10_000; i++) poll.wait(() => false);
    expect(poll.misses + poll.skipped).toBe(10_000);
    expect(poll.misses).toBeLessThan(60);
    expect(clock.looks()).toBeLessThan(600); // 5 µs each: 3 ms in 10,000 requests
  });
});
