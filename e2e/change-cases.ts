// Disks that change while they are in use, in every browser: reopened, committed, let go of for another tab
// and taken up again, moved while another tab waits for them, and copied from the network as they are read.

import { expect } from '@playwright/test';
import type * as Diskplane from '../src/index.ts';
import { blankTab, close, open, read, write } from './disk-cases.ts';
import type { DiskCase, DiskRig, Kept } from './disk-cases.ts';
import type { Tab } from './engines/tab.ts';

/** Where disks are kept. */
const STORAGES = {
  OPFS: (name: string): object => ({ driver: 'opfs', path: `changes/${name}` }),
  IndexedDB: (name: string): object => ({ driver: 'idb', database: `change-${name}` }),
};

/** Two bases of 2 MiB, of ones and of twos, and an overlay over the first. */
interface Images {
  readonly base: object;
  readonly other: object;
  readonly overlay: object;
}

/**
 * Reads without end, while the disk is made read-only and writable again, put over the other base and back, and
 * committed. Answers what was seen on the way.
 */
function changeInUse(tab: Tab, entry: string, images: Images): Promise<object> {
  return tab.evaluate(
    async ({ entry, base, other, overlay }) => {
      const { openDisk, startIOThread } = (await import(entry)) as typeof Diskplane;
      const size = 2 * 1024 * 1024;
      const below = 1024 * 1024;
      const cluster = 65536;
      const thread = await startIOThread();
      for (const [value, file] of [base, other].entries()) {
        await thread.blockdevCreate({ driver: 'raw', file, size });
        const disk = await openDisk({ driver: 'raw', file }, { thread });
        await disk.write(0, new Uint8Array(size).fill(1 + value));
        await disk.close();
      }
      const readOnly = { driver: 'raw', 'read-only': true };
      await thread.blockdevAdd({ ...readOnly, 'node-name': 'base', file: base });
      await thread.blockdevAdd({ ...readOnly, 'node-name': 'other', file: other });
      await thread.blockdevCreate({ driver: 'qcow2', file: overlay, size });
      const image = { driver: 'qcow2', file: overlay, backing: 'base' };
      const disk = await openDisk(image, { thread });
      await disk.write(0, new Uint8Array(cluster).fill(3));

      const wrong: number[] = [];
      let over = false;
      const reading = (async () => {
        const [own, shown] = [new Uint8Array(4096), new Uint8Array(4096)];
        while (!over) {
          await Promise.all([disk.read(0, own), disk.read(below, shown)]);
          wrong.push(...own.filter((byte) => byte !== 3));
          wrong.push(...shown.filter((byte) => byte !== shown[0] || (byte !== 1 && byte !== 2)));
        }
      })();
      const at = async (offset: number): Promise<number | undefined> => {
        const byte = new Uint8Array(1);
        await disk.read(offset, byte);
        return byte[0];
      };
      await disk.reopen({ 'read-only': true });
      const refused = await disk.write(cluster, new Uint8Array(512)).then(
        () => 'written',
        (error: Diskplane.BlockError) => error.code,
      );
      await disk.reopen({ 'read-only': false });
      await disk.write(cluster, new Uint8Array(cluster).fill(4));
      await disk.reopen({ backing: 'other' });
      const overOther = [await at(0), await at(cluster), await at(below)];
      await disk.reopen({ backing: 'base' });
      await disk.commit();
      const depths = (await disk.map()).map(({ depth }) => depth);
      const committed = [await at(0), await at(cluster), await at(below)];
      over = true;
      await reading;
      await disk.close();
      await thread.close();
      return { wrong, refused, overOther, depths, committed };
    },
    { entry, ...images },
  );
}

/** Answers the code of the error with which the disk's thread could not do `what`; '' when it could. */
function thread(tab: Tab, what: 'inactivateAll' | 'activateAll'): Promise<string> {
  return tab.evaluate(
    (what) =>
      (globalThis as unknown as Kept).disk.thread[what]().then(
        () => '',
        (error: Diskplane.BlockError) => error.code,
      ),
    what,
  );
}

/**
 * Moves a disk between two threads while it is written to, until `other`, which tries to open it all the time, has
 * been refused twice. Answers what was wrong, and with what codes it was refused.
 */
async function hopAwayFrom(
  tab: Tab,
  other: Tab,
  entry: string,
  image: object,
): Promise<{ wrong: number; refused: string[] }> {
  const [wrong, refused] = await Promise.all([
    tab.evaluate(
      async ({ entry, image }) => {
        const { openDisk, startIOThread } = (await import(entry)) as typeof Diskplane;
        const ids = ['left', 'right'];
        const threads = await Promise.all(ids.map((id) => startIOThread({ id })));
        const create = { ...image, size: '1M' };
        await threads[0]!.blockdevCreate(create);
        const disk = await openDisk(image as Diskplane.BlockdevOptions, { thread: threads[0]! });
        const channel = new BroadcastChannel('hops');
        let over = false;
        channel.onmessage = () => (over = true);
        let wrong = 0;
        const writing = [0, 1, 2, 3].map(async (lane) => {
          const back = new Uint8Array(4096);
          for (let round = 0; !over; round = (round + 1) % 256) {
            const at = (lane * 64 + (round % 64)) * 4096;
            await disk.write(at, new Uint8Array(4096).fill(round));
            await disk.read(at, back);
            wrong += back.filter((byte) => byte !== round).length;
          }
        });
        channel.postMessage('hops');
        for (let hop = 1; !over || hop < 10; hop++) await disk.moveTo(threads[hop % 2]!);
        await Promise.all(writing);
        await disk.close();
        await Promise.all(threads.map((thread) => thread.close()));
        channel.close();
        return wrong;
      },
      { entry, image },
    ),
    other.evaluate(
      async ({ entry, image }) => {
        const { openDisk } = (await import(entry)) as typeof Diskplane;
        const channel = new BroadcastChannel('hops');
        await new Promise((resolve) => (channel.onmessage = resolve));
        const refused: string[] = [];
        while (refused.length < 2) {
          const opening = openDisk(image as Diskplane.BlockdevOptions);
          refused.push(
            await opening.then(
              (disk) => disk.close().then(() => ''),
              (error: Diskplane.BlockError) => error.code,
            ),
          );
        }
        channel.postMessage('over');
        channel.close();
        return refused;
      },
      { entry, image },
    ),
  ]);
  return { wrong, refused };
}

/** Takes everything away that cases here stored; answers the locks that are still held. */
function clear(tab: Tab): Promise<string[]> {
  return tab.evaluate(async () => {
    const folder = await navigator.storage.getDirectory();
    await folder.removeEntry('changes', { recursive: true }).catch(() => {});
    for (const { name = '' } of await indexedDB.databases()) {
      if (!name.includes('change')) continue;
      await new Promise<void>((resolve, reject) => {
        const request = indexedDB.deleteDatabase(name);
        request.onsuccess = () => resolve();
        request.onblocked = () => reject(new Error(`${name} is in use`));
      });
    }
    const { held = [] } = await navigator.locks.query();
    return held.map(({ name = '' }) => name).filter((name) => name.includes('change'));
  }, undefined);
}

/** In one browser and two tabs, since starting them takes longest. */
const changed: DiskCase = {
  name: 'disks in use are reopened, committed, lent to another tab, moved, and copied as they are read',
  kills: false,
  async run(rig) {
    const tab = await blankTab(rig);
    const other = await blankTab(rig);
    for (const file of Object.values(STORAGES)) {
      await reopenCommitAndLend(rig, tab, other, file);
      const image = { driver: 'qcow2', file: file('hops.qcow2') };
      const seen = await hopAwayFrom(tab, other, rig.entry, image);
      expect(seen).toEqual({ wrong: 0, refused: ['EBUSY', 'EBUSY'] });
    }
    await copyOnRead(rig, tab);
    expect(await clear(tab)).toEqual([]);
  },
};

async function reopenCommitAndLend(
  { entry }: DiskRig,
  tab: Tab,
  other: Tab,
  file: (name: string) => object,
): Promise<void> {
  const images = { base: file('base.img'), other: file('other.img'), overlay: file('top.qcow2') };
  expect(await changeInUse(tab, entry, images)).toEqual({
    wrong: [],
    refused: 'EROFS',
    overOther: [3, 4, 2],
    depths: [1],
    committed: [3, 4, 1],
  });
  const backing = { driver: 'raw', file: images.base };
  const image = { driver: 'qcow2', file: images.overlay, backing };
  expect(await open(tab, entry, image)).toBe('');
  await write(tab, 0, 5);
  expect(await thread(tab, 'inactivateAll')).toBe('');
  // All of it was let go of, the base as well; which holds what was committed.
  expect(await open(other, entry, backing)).toBe('');
  expect(await read(other, 1024 * 1024)).toBe(1);
  await close(other);
  expect(await open(other, entry, image)).toBe('');
  expect(await read(other, 0)).toBe(5);
  await write(other, 0, 6);
  expect(await thread(tab, 'activateAll')).toBe('EBUSY');
  await close(other);
  expect(await thread(tab, 'activateAll')).toBe('');
  expect(await read(tab, 0)).toBe(6);
  await write(tab, 0, 7);
  expect(await read(tab, 0)).toBe(7);
  await close(tab);
}

/** What was read once comes from the overlay. */
async function copyOnRead({ entry, images }: DiskRig, tab: Tab): Promise<void> {
  images.setFile('/disk.img', { bytes: new Uint8Array(2 * 1024 * 1024).fill(9) });
  const http = { driver: 'http', url: `${images.url}/disk.img`, readahead: 0 };
  const file = { ...STORAGES.OPFS('copied.qcow2'), create: true };
  const backing = { driver: 'raw', file: http };
  const options = { driver: 'copy-on-read', file: { driver: 'qcow2', file, backing } };
  expect(await open(tab, entry, options)).toBe('');
  expect(await read(tab, 500_000)).toBe(9);
  expect(images.stats.bytes).toBeGreaterThanOrEqual(300_000);
  await close(tab);
  expect(await open(tab, entry, options)).toBe('');
  images.resetStats();
  expect(await read(tab, 500_000)).toBe(9);
  expect(images.stats.requests).toBe(0);
  expect(await read(tab, 1_500_000)).toBe(9);
  expect(images.stats.requests).toBeGreaterThan(0);
  await close(tab);
}

export const changeCases: readonly DiskCase[] = [changed];
