// One file in OPFS that two IOThreads have open, each with a handle of its own, and serve a queue of one device
// each: what one was told to write the other reads, and all of it is there when the disk is opened again.

import type * as Guests from '../src/testing/many-queues-guest.ts';
import type * as Diskplane from '../src/index.ts';
import { expect, test } from './fixtures.ts';

test.use({ shareBrowser: true });

test('two IOThreads serve one file in OPFS', async ({ page, sourceURL }) => {
  await page.goto('blank.html');
  const answer = await page.evaluate(
    async ({ entry, guests }) => {
      const { openDisk, startIOThread } = (await import(entry)) as typeof Diskplane;
      const { ManyQueuesGuest, manyQueuesMemory } = (await import(guests)) as typeof Guests;
      const place = { driver: 'opfs', path: 'shared.img' };
      const made = { ...place, create: true, size: 1024 * 1024, share: true };
      const threads = await Promise.all([startIOThread(), startIOThread()]);
      const disk = await openDisk({ driver: 'raw', file: made }, { thread: threads[0] });
      const memory = manyQueuesMemory(2);
      const iothreadVqMapping = threads.map((iothread) => ({ iothread }));
      const device = await disk.attachDevice({ ...memory, id: 'vda', iothreadVqMapping });
      const guest = new ManyQueuesGuest(device, memory.memory);
      guest.start();
      const statuses: number[] = [];
      let wrong = 0;
      for (let i = 0; i < 64; i++) {
        statuses.push(await guest.write(i % 2, i * 4096, new Uint8Array(4096).fill(i + 1)));
        const back = await guest.read((i + 1) % 2, i * 4096, 4096);
        if (back.some((byte) => byte !== i + 1)) wrong += 1;
      }
      statuses.push(await guest.flush(1));
      const served = await Promise.all(threads.map((thread) => thread.queryIothread()));
      const requests = served.map(
        ({ devices }) => devices.find(({ id }) => id === 'vda')!.requests,
      );
      const second = await openDisk({ driver: 'raw', file: place }).then(
        () => '',
        (error: Diskplane.BlockError) => error.code,
      );
      await device.remove();
      await disk.close();
      for (const thread of threads) await thread.close();
      const again = await openDisk({ driver: 'raw', file: place });
      const all = new Uint8Array(64 * 4096);
      await again.read(0, all);
      await again.close();
      const kept = all.every((byte, at) => byte === Math.floor(at / 4096) + 1);
      return { statuses: [...new Set(statuses)], wrong, requests, second, kept };
    },
    { entry: sourceURL('src/index.ts'), guests: sourceURL('src/testing/many-queues-guest.ts') },
  );
  // 64 writes and reads, half of either on each; and the flush.
  expect(answer).toEqual({
    statuses: [0],
    wrong: 0,
    requests: [64, 65],
    second: 'EBUSY',
    kept: true,
  });
});
