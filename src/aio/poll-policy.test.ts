import { describe, expect, it } from 'vitest';
import { PollPolicy } from './poll-policy.ts';

describe('PollPolicy, by the rules of util/aio-posix.c', () => {
  it('starts at nothing, then at 4 µs, and doubles up to its limit while events come soon', () => {
    const policy = new PollPolicy();
    expect(policy.ns).toBe(0);
    const seen: number[] = [];
    for (let i = 0; i < 6; i++) {
      policy.adapt(30_000);
      seen.push(policy.ns);
    }
    expect(seen).toEqual([4000, 8000, 16_000, 32_000, 32_000, 32_000]);
  });

  it('stays where it is when polling caught the event', () => {
    const policy = new PollPolicy();
    policy.adapt(10_000);
    policy.adapt(3000);
    expect(policy.ns).toBe(4000);
  });

  it('gives up at once when events come late, as between threads that share a CPU', () => {
    const policy = new PollPolicy();
    for (let i = 0; i < 4; i++) policy.adapt(30_000);
    policy.adapt(100_000);
    expect(policy.ns).toBe(0);
  });

  it('all but stops where polling itself delays the event, as between threads that share a CPU', () => {
    const policy = new PollPolicy();
    let polled = 0;
    for (let i = 0; i < 1000; i++) {
      polled += policy.ns;
      policy.adapt(policy.ns + 10_000);
    }
    // QEMU's rules alone come to 12,000 ns a wait.
    expect(polled / 1000).toBeLessThan(1500);
    expect(polled).toBeGreaterThan(0);
  });

  it('polls again at once after a pause, when it has hit since it last gave up', () => {
    const policy = new PollPolicy();
    for (let burst = 0; burst < 100; burst++) {
      for (let i = 0; i < 5; i++) policy.adapt(20_000);
      expect([burst, policy.ns]).toEqual([burst, 32_000]);
      policy.adapt(1e6);
      expect(policy.ns).toBe(0);
    }
  });

  it('does not hold it against an idle thread that nothing comes', () => {
    const policy = new PollPolicy();
    for (let i = 0; i < 100; i++) policy.adapt(1e6);
    policy.adapt(10_000);
    expect(policy.ns).toBe(4000);
  });

  it('shrinks by the factor given, and never polls with a limit of zero', () => {
    const policy = new PollPolicy({ maxNs: 32_768, grow: 4, shrink: 2 });
    policy.adapt(30_000);
    policy.adapt(30_000);
    expect(policy.ns).toBe(16_000);
    policy.adapt(100_000);
    expect(policy.ns).toBe(8000);
    policy.settings = { maxNs: 0, grow: 0, shrink: 0 };
    policy.adapt(10);
    expect(policy.ns).toBe(0);
  });
});
