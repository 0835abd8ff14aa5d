import { describe, expect, it } from 'vitest';
import { CoMutex } from '../aio/co-mutex.ts';
import { DOORBELL_WORDS, EventNotifier } from '../aio/event-notifier.ts';
import type { SimContext } from './sim-context.ts';
import { NETWORK, STORAGE } from './sim-latency.ts';
import { formatRecord } from './sim-trace.ts';
import { SimFailure, SimWorld } from './sim-world.ts';

async function failure(run: Promise<unknown>): Promise<string> {
  const error: unknown = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SimFailure);
  return (error as Error).message;
}

/** Three threads that do a bit of everything with each other; answers all that happened. */
async function history(seed: number): Promise<string> {
  const lines: string[] = [];
  const world = new SimWorld({ seed, onRecord: (record) => lines.push(formatRecord(record)) });
  const { prng } = world;
  const page = world.newContext('page', { mayBlock: false });
  const threads = [world.newContext('io0'), world.newContext('io1')];
  const words = new Int32Array(16);
  const mutexes = threads.map(() => new CoMutex());
  let kicks = 0;
  const notifiers = threads.map((thread, i) => {
    const notifier = new EventNotifier(words, i, thread.doorbell);
    thread.setEventNotifier(notifier, { onRead: () => void (kicks += 1) });
    return notifier;
  });
  const request = async (at: number, id: number): Promise<number> => {
    const [thread, other] = [threads[at]!, threads[1 - at]!];
    await thread.sleep(prng.below(50_000));
    await mutexes[at]!.withLock(() => thread.completion(`write ${id}`, STORAGE));
    other.scheduleOneshot(() => world.note(`request ${id} is over`));
    await new Promise<void>((resolve) => thread.newBottomHalf(resolve).schedule());
    return id;
  };
  const answers = await world.run(page, async () => {
    const calls: Promise<number>[] = [];
    for (let id = 0; id < 6; id++) {
      const at = prng.below(2);
      calls.push(threads[at]!.call(`request ${id}`, () => request(at, id)));
      notifiers[prng.below(2)]!.set();
      if (prng.chance(50)) await page.completion('fetch', NETWORK);
    }
    return Promise.all(calls);
  });
  await world.runToEnd();
  expect(answers).toEqual([0, 1, 2, 3, 4, 5]);
  expect(kicks).toBeGreaterThan(0);
  lines.push(`${world.events} events, ${world.now()} ns`);
  return lines.join('\n');
}

describe('a simulated world', () => {
  it('is the same for the same seed, byte by byte, and another for another', async () => {
    const histories = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const first = await history(seed);
      expect(await history(seed)).toBe(first);
      histories.add(first);
    }
    expect(histories.size).toBe(200);
  });

  it('passes days in no time, and fires timers at their time', async () => {
    const world = new SimWorld({ seed: 1 });
    const io = world.newContext('io');
    const DAY = 86_400e9;
    const passed = await world.run(io, async () => {
      const before = io.now();
      await io.sleep(DAY);
      return io.now() - before;
    });
    expect(passed).toBeGreaterThanOrEqual(DAY);
    expect(passed).toBeLessThan(DAY + 1e9);
    await world.runFor(DAY);
    expect(world.now()).toBeGreaterThan(2 * DAY);
    expect(world.events).toBeLessThan(30);
  });

  it('runs every promise job between two events, however long their chain', async () => {
    const world = new SimWorld({ seed: 1 });
    const io = world.newContext('io');
    const log: string[] = [];
    await world.run(io, async () => {
      io.hostEvent('first', 1000, () => {
        void (async () => {
          for (let i = 0; i < 5000; i++) await Promise.resolve();
          log.push('jobs of the first');
        })();
      });
      io.hostEvent('second', 1001, () => log.push('second'));
      await io.sleep(5000);
    });
    expect(log).toEqual(['jobs of the first', 'second']);
  });

  it('brings what is due at one time, and what two threads do, in the order of the seed', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const world = new SimWorld({ seed });
      const threads = ['a', 'b'].map((name) => world.newContext(name));
      let order = '';
      const late = (thread: SimContext): Promise<unknown> =>
        thread.call('both', async () => {
          const both = [1, 2].map(async (i) => {
            await thread.completion('same time', 1000);
            order += `${thread.name}${i}`;
          });
          await Promise.all(both);
        });
      await world.run(world.newContext('page'), () => Promise.all(threads.map(late)));
      orders.add(order);
    }
    // Either thread first, and either of the two of each.
    expect(orders.size).toBe(8);
  });

  it('keeps messages of one sender in their order', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const world = new SimWorld({ seed });
      const [page, io] = [world.newContext('page'), world.newContext('io')];
      const got: number[] = [];
      await world.run(page, () => {
        for (let i = 0; i < 20; i++) io.post(`message ${i}`, () => got.push(i));
        return io.call('last', () => {});
      });
      expect(got).toEqual(Array.from({ length: 20 }, (_, i) => i));
    }
  });
});

describe('threads of a simulated world', () => {
  it('run what another schedules, as aio_bh_schedule_oneshot has it, and at home', async () => {
    const world = new SimWorld({ seed: 3 });
    const [a, b] = [world.newContext('a'), world.newContext('b')];
    const ran = await world.run(a, () => {
      const answer = new Promise<string>((resolve) => {
        b.scheduleOneshot(() => {
          const where = world.current!.name;
          a.scheduleOneshot(() => resolve(`${where}, ${world.current!.name}`));
        });
      });
      return answer;
    });
    expect(ran).toBe('b, a');
  });

  it('refuse what only their own thread may do', async () => {
    const uses: ((io: SimContext) => unknown)[] = [
      (io) => io.newTimer(() => {}),
      (io) => io.newBottomHalf(() => {}),
      (io) => io.track(Promise.resolve()),
      (io) => io.poll(false),
      (io) => io.sleep(1),
      (io) => io.hostEvent('read', STORAGE, () => {}),
      (io) => io.setEventNotifier(new EventNotifier(io.doorbell, 5, io.doorbell), null),
    ];
    for (const use of uses) {
      const world = new SimWorld({ seed: 4 });
      const [page, io] = [world.newContext('page'), world.newContext('io')];
      const message = await failure(world.run(page, async () => use(io)));
      expect(message).toContain("'page' calls the context of 'io'");
    }
    // What was made at home is used at home.
    const world = new SimWorld({ seed: 4 });
    const [page, io] = [world.newContext('page'), world.newContext('io')];
    const timer = io.newTimer(() => {});
    await world.runToEnd();
    expect(await failure(world.run(page, () => timer.mod(0)))).toContain('calls the context');
  });

  it('adapt how long they busy-wait to what comes', async () => {
    const world = new SimWorld({ seed: 5 });
    const [guest, io] = [world.newContext('guest'), world.newContext('io')];
    const bell = new EventNotifier(new Int32Array(1), 0, io.doorbell);
    let kicks = 0;
    io.setEventNotifier(bell, { onRead: () => void (kicks += 1) });
    const kickAfter = async (ns: number, times: number): Promise<number> => {
      for (let i = 0; i < times; i++) {
        bell.set();
        await guest.completion('think', ns);
      }
      return io.pollPolicy.ns;
    };
    await world.run(guest, async () => {
      expect(await kickAfter(10_000, 100)).toBeGreaterThan(0);
      expect(await kickAfter(5_000_000, 20)).toBe(0);
    });
    expect(kicks).toBeGreaterThan(20);
  });

  it('end where they stand when terminated', async () => {
    const world = new SimWorld({ seed: 6 });
    const [page, io] = [world.newContext('page'), world.newContext('io')];
    const log: string[] = [];
    await world.run(page, async () => {
      await io.call('start', () => {
        io.newTimer(() => log.push('timer')).mod(io.now() + 1e6);
        io.hostEvent('write', 1e6, () => log.push('write'));
      });
      io.terminate();
      io.post('message', () => log.push('message'));
      io.scheduleOneshot(() => log.push('bottom half'));
    });
    await world.runToEnd();
    expect(log).toEqual([]);
  });
});

describe('poll within a callback', () => {
  it('runs bottom halves, notifiers and timers, and no promise job', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const world = new SimWorld({ seed });
      const [other, io] = [world.newContext('other'), world.newContext('io')];
      const bell = new EventNotifier(new Int32Array(1), 0, io.doorbell);
      const log: string[] = [];
      io.setEventNotifier(bell, { onRead: () => void log.push('rung') });
      await new Promise<void>((resolve, reject) => {
        io.scheduleOneshot(() => {
          void Promise.resolve().then(() => log.push('promise job'));
          io.newTimer(() => log.push('timer')).mod(io.now() + 5e6);
          other.post('ring', () => bell.set());
          io.hostEvent('untracked', 0, () => log.push('host'));
          const seen = (what: string): boolean => log.includes(what);
          while (!(seen('rung') && seen('timer'))) io.poll(true);
          log.push('callback ends');
          // Keeps the thread from blocking until the host was heard.
          void io.track(io.completion('more', 1e6)).then(resolve);
        });
        world.runToEnd().catch(reject);
      });
      expect(log.slice(0, 2).sort()).toEqual(['rung', 'timer']);
      expect(log.slice(2)).toEqual(['callback ends', 'promise job', 'host']);
    }
  });

  it('may come from the host or a message, between two turns, and the loop goes on', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const world = new SimWorld({ seed });
      const [page, io] = [world.newContext('page'), world.newContext('io')];
      const log: string[] = [];
      await world.run(page, async () => {
        io.post('poll', () => {
          io.newTimer(() => log.push('first')).mod(io.now() + 1e6);
          expect(io.poll(true)).toBe(true);
          io.newTimer(() => log.push('second')).mod(io.now() + 1e6);
          io.scheduleOneshot(() => log.push('half'));
        });
        await page.sleep(1e9);
        await io.call('end', () => log.push('end'));
      });
      expect(log).toEqual(['first', 'half', 'second', 'end']);
    }
  });

  it('never enters a timer callback that runs, as one that keeps a connection alive needs', async () => {
    const world = new SimWorld({ seed: 8 });
    const io = world.newContext('io');
    let [depth, fired, halves] = [0, 0, 0];
    // The rule for timers that outlive requests: set a flag, schedule a bottom half.
    const half = io.newBottomHalf(() => void (halves += 1));
    const keepAlive = io.newTimer(() => {
      expect(depth).toBe(0);
      depth += 1;
      fired += 1;
      half.schedule();
      if (fired < 5) keepAlive.mod(io.now());
      // A driver that wrongly polls here meets everything but this timer.
      expect(io.poll(true)).toBe(true);
      expect(io.poll(false)).toBe(false);
      depth -= 1;
    });
    keepAlive.mod(1000);
    await world.runToEnd();
    expect([fired, halves]).toEqual([5, 5]);
  });

  it('fails clearly where nothing would ever wake it, or host work is outstanding', async () => {
    const world = new SimWorld({ seed: 9 });
    const io = world.newContext('io');
    io.scheduleOneshot(() => void io.poll(true));
    expect(await failure(world.runToEnd())).toContain('io waits for ever in poll(true)');

    const second = new SimWorld({ seed: 9 });
    const busy = second.newContext('busy');
    const polling = second.run(busy, async () => {
      await busy.sleep(10);
      busy.poll(true);
    });
    expect(await failure(polling)).toContain('poll(true) while host work is outstanding');
  });
});

describe('a simulated world that fails', () => {
  it('says that nothing is left to happen, with seed and trace', async () => {
    const world = new SimWorld({ seed: 42 });
    const io = world.newContext('io');
    const run = world.run(io, async () => {
      await io.completion('read of the header', STORAGE);
      world.note('now it hangs');
      await new Promise(() => {});
    });
    const message = await failure(run);
    expect(message).toMatch(/^seed 42, event \d+: nothing is left to happen\n/);
    expect(message).toMatch(/ms {2}io +host +read of the header\n/);
    expect(message).toMatch(/ms {2}io +note +now it hangs$/m);
    expect(message.split('\n').length).toBeLessThan(30);
  });

  it('says that there is no end', async () => {
    const world = new SimWorld({ seed: 1, maxEvents: 500 });
    const io = world.newContext('io');
    const again = io.newBottomHalf(() => again.schedule());
    again.schedule();
    expect(await failure(world.runToEnd())).toContain('no end after 500 events');
    expect(world.events).toBe(501);
  });

  it('shows what a callback, an event or the scenario threw', async () => {
    const bug = new Error('a bug');
    const thrower = (): never => {
      throw bug;
    };
    const ways: ((io: SimContext) => void | Promise<void>)[] = [
      (io) => io.scheduleOneshot(thrower),
      (io) => io.newTimer(thrower).mod(0),
      (io) => void io.hostEvent('read', 5, thrower),
      () => thrower(),
    ];
    for (const way of ways) {
      const world = new SimWorld({ seed: 7 });
      const io = world.newContext('io');
      const error: unknown = await world
        .run(io, async () => {
          await way(io);
          await new Promise(() => {});
        })
        .catch((reason: unknown) => reason);
      expect(error).toMatchObject({ name: 'SimFailure', cause: bug });
      expect((error as Error).message).toMatch(/^seed 7, event \d+: Error: a bug\n/);
    }
  });

  it('finds host work that nobody tracked: its thread blocks and does not hear of it', async () => {
    const world = new SimWorld({ seed: 11 });
    const io = world.newContext('io');
    // A driver that reads ahead by itself, and does not say so.
    io.scheduleOneshot(() => void io.completion('read-ahead', STORAGE).then(() => half.schedule()));
    const half = io.newBottomHalf(() => {});
    const guest = world.newContext('guest');
    const run = world.run(guest, async () => {
      await guest.sleep(1e9);
      await new Promise(() => {});
    });
    expect(await failure(run)).toContain(
      "'io' sleeps in Atomics.wait and does not hear read-ahead",
    );
  });

  it('finds a kick that does not ring', async () => {
    const world = new SimWorld({ seed: 12 });
    const [guest, io] = [world.newContext('guest'), world.newContext('io')];
    // The doorbell of nobody.
    const bell = new EventNotifier(new Int32Array(1), 0, new Int32Array(DOORBELL_WORDS));
    const rung = new Promise<void>((resolve) => {
      io.setEventNotifier(bell, { onRead: resolve });
    });
    const run = world.run(guest, async () => {
      await guest.sleep(1e9);
      bell.set();
      await rung;
    });
    expect(await failure(run)).toContain('nothing is left to happen');
  });
});
