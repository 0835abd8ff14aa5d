// A test context whose clock runs fast, so that back-offs and time limits of seconds pass in
// milliseconds, in their right order and proportion.

import type { AioContext, Timer } from '../aio/aio-context.ts';
import { testContext } from './test-context.ts';

/** `factor` nanoseconds pass in each. Everything else is `testContext`'s. */
export function fastContext(factor: number): AioContext {
  const real = testContext();
  return {
    name: 'fast test',
    now: () => real.now() * factor,
    random: () => real.random(),
    newBottomHalf: (callback) => real.newBottomHalf(callback),
    scheduleOneshot: (callback) => real.scheduleOneshot(callback),
    newTimer: (callback): Timer => {
      const timer = real.newTimer(callback);
      return {
        mod: (expire) => timer.mod(expire / factor),
        del: () => timer.del(),
        get armed(): boolean {
          return timer.armed;
        },
      };
    },
    sleep: (ns, signal) => real.sleep(ns / factor, signal),
    setEventNotifier: (notifier, handler) => real.setEventNotifier(notifier, handler),
    track: (promise) => real.track(promise),
    notify: () => real.notify(),
  };
}
