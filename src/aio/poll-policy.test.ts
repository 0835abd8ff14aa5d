import { describe, expect, it } from 'vitest';
import { PollPolicy } from './poll-policy.ts';

describe('PollPolicy', () => {
  it('starts at nothing, then at twice what would have caught the event, up to its limit', () => {
    const policy = new PollPolicy();
    expect(policy.ns).toBe(0);
    policy.adapt(500);
    expect(policy.ns).toBe(4000);
    policy.adapt(30_000);
    expect(policy.ns).toBe(60_000);
    policy.adapt(300_000);
    expect(policy.ns).toBe(500_000);
  });

  it('stays where it is when polling caught the event', () => {
    const policy = new PollPolicy();
    policy.adapt(10_000);
    policy.adapt(3000);
    expect(policy.ns).toBe(20_000);
  });

  it('takes no notice of pauses between bursts of events', () => {
    const policy = new PollPolicy();
    policy.adapt(300_000);
    for (let burst = 0; burst < 100; burst++) {
      for (let i = 0; i < 3; i++) policy.adapt(300_000);
      policy.adapt(5e6);
      expect([burst, policy.ns]).toEqual([burst, 500_000]);
    }
  });

  it('gives up after four polls in vain, until an event comes soon again', () => {
    const policy = new PollPolicy();
    policy.adapt(30_000);
    for (let i = 0; i < 3; i++) policy.adapt(1e6);
    expect(policy.ns).toBe(60_000);
    policy.adapt(1e6);
    expect(policy.ns).toBe(0);
    for (let i = 0; i < 100; i++) policy.adapt(1e6);
    expect(policy.ns).toBe(0);
    policy.adapt(30_000);
    expect(policy.ns).toBe(60_000);
  });

  it('all but stops where polling itself delays the event, as between threads that share a CPU', () => {
    const policy = new PollPolicy();
    let polled = 0;
    for (let i = 0; i < 10_000; i++) {
      polled += policy.ns;
      policy.adapt(policy.ns + 10_000);
    }
    expect(polled / 10_000).toBeLessThan(3000);
    expect(polled).toBeGreaterThan(0);
    // One hit, and it is back for good.
    while (policy.ns === 0) policy.adapt(10_000);
    policy.adapt(1000);
    for (let i = 0; i < 100; i++) {
      policy.adapt(1000);
      expect(policy.ns).toBeGreaterThan(0);
    }
  });

  it('grows and shrinks by the factors given, and never polls with a limit of zero', () => {
    const policy = new PollPolicy({ maxNs: 32_768, grow: 4, shrink: 2 });
    policy.adapt(30_000);
    expect(policy.ns).toBe(4000);
    policy.adapt(30_000);
    expect(policy.ns).toBe(16_000);
    for (let i = 0; i < 3; i++) policy.adapt(100_000);
    expect(policy.ns).toBe(8000);
    policy.settings = { maxNs: 0, grow: 0, shrink: 0 };
    policy.adapt(10);
    expect(policy.ns).toBe(0);
  });
});
