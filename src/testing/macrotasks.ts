// Runs steps with all promise jobs between them. The host empties its queue of promise jobs, however
// long it grows, before it begins the next macrotask; so each step is one. `setImmediate` makes the
// cheapest macrotasks: those that were asked for together run in one round of the event loop.

const BATCH = 64;

/** Calls `step` until it answers false; resolves then. Rejects with what `step` throws. */
export function runMacrotasks(step: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let over = false;
    let asked = 0;
    const next = (): void => {
      if (over) return;
      asked -= 1;
      try {
        over = !step();
      } catch (error) {
        over = true;
        reject(error instanceof Error ? error : new Error(String(error)));
      }
      if (over) resolve();
      else if (asked === 0) askForMore();
    };
    const askForMore = (): void => {
      for (; asked < BATCH; asked++) setImmediate(next);
    };
    askForMore();
  });
}
