// What a disk must do in every browser, through the façade: storage that outlives the browser, two tabs,
// workers that die, pages that go, a network that fails. Each case runs in Chromium (disk.spec.ts) and in
// the other engines (engines/disk.spec.ts).

import { expect } from '@playwright/test';
import type * as Diskplane from '../src/index.ts';
import type { Tab } from './engines/tab.ts';
import type { ImageServer } from './server/image-server.ts';

/** What test pages keep between calls. */
export interface Kept {
  disk: Diskplane.Disk;
  events: string[];
  /** Messages of notices. */
  notices: string[];
  workers: Worker[];
}

/** What a case has to work with. */
export interface DiskRig {
  /** URL of the module to import the package from. */
  readonly entry: string;
  readonly images: ImageServer;
  /** Opens a tab; starts a browser where none runs. */
  newTab(): Promise<Tab>;
  /** Ends the browser as a crash would; what it stored stays. For cases that say `kills`. */
  kill(): Promise<void>;
}

export interface DiskCase {
  readonly name: string;
  /** It wants a browser of its own, to kill it. */
  readonly kills: boolean;
  readonly run: (rig: DiskRig) => Promise<void>;
}

/** A tab on a page without anything. */
export async function blankTab(rig: Pick<DiskRig, 'newTab'>): Promise<Tab> {
  const tab = await rig.newTab();
  await tab.goto('blank.html');
  return tab;
}

/** Opens `options` in `tab`, and keeps the disk there; answers '' or the error's code and message. */
export function open(tab: Tab, entry: string, options: object, create?: object): Promise<string> {
  return tab.evaluate(
    async ({ entry, options, create }) => {
      const { openDisk, createDisk } = (await import(entry)) as typeof Diskplane;
      const kept = globalThis as unknown as Kept;
      kept.events = [];
      kept.notices = [];
      try {
        if (create !== undefined) await createDisk(create as Diskplane.BlockdevOptions);
        kept.disk = await openDisk(options as Diskplane.BlockdevOptions, {
          onEvent: (event) => {
            kept.events.push(event.event);
            if (event.event === 'NOTICE') kept.notices.push(event.message);
          },
        });
        return '';
      } catch (error) {
        return `${(error as Diskplane.BlockError).code}: ${(error as Error).message}`;
      }
    },
    { entry, options, ...(create === undefined ? {} : { create }) },
  );
}

/** Writes 300,000 bytes of `value`, and flushes. */
export function write(tab: Tab, offset: number, value: number): Promise<void> {
  return tab.evaluate(
    async ({ offset, value }) => {
      const { disk } = globalThis as unknown as Kept;
      await disk.write(offset, new Uint8Array(300_000).fill(value));
      await disk.flush();
    },
    { offset, value },
  );
}

/** The one value that 300,000 bytes at `offset` hold, or -1. */
export function read(tab: Tab, offset: number): Promise<number> {
  return tab.evaluate(async (offset) => {
    const { disk } = globalThis as unknown as Kept;
    const back = new Uint8Array(300_000);
    await disk.read(offset, back);
    return back.every((byte) => byte === back[0]) ? back[0]! : -1;
  }, offset);
}

export function close(tab: Tab): Promise<void> {
  return tab.evaluate(() => (globalThis as unknown as Kept).disk.close(), undefined);
}

export function events(tab: Tab): Promise<string[]> {
  return tab.evaluate(() => (globalThis as unknown as Kept).events, undefined);
}

/** `check()` finds nothing that is wrong; leaks are allowed. */
export async function expectSound(tab: Tab): Promise<void> {
  const check = await tab.evaluate(() => (globalThis as unknown as Kept).disk.check(), undefined);
  expect(check).toMatchObject({ corruptions: 0, checkErrors: 0 });
}

/** Writes MiB after MiB from 1 MiB on; answers the code of the error that ends it. */
export function fill(tab: Tab): Promise<string | undefined> {
  return tab.evaluate(async () => {
    const { disk } = globalThis as unknown as Kept;
    const chunk = new Uint8Array(1024 * 1024).fill(5);
    for (let at = 1024 * 1024; at < disk.length; at += chunk.length) {
      try {
        await disk.write(at, chunk);
        await disk.flush();
      } catch (error) {
        return (error as Diskplane.BlockError).code;
      }
    }
    return undefined;
  }, undefined);
}

/** Where disks are kept, under a name of the case's own. */
const STORAGES = {
  OPFS: (name: string): object => ({ driver: 'opfs', path: `cases/${name}` }),
  IndexedDB: (name: string): object => ({ driver: 'idb', database: `case-${name}` }),
};
type Storage = keyof typeof STORAGES;

function qcow2In(storage: Storage, name: string): { image: object; create: object } {
  const image = { driver: 'qcow2', file: STORAGES[storage](`${name}.qcow2`) };
  return { image, create: { ...image, size: '64M' } };
}

const SLOTS = 64;
const SLOT_BYTES = 96 * 1024;
const STORM_WRITES = 80;

/**
 * Writes without end, each write its number, over and over the same slots, two in flight; flushes
 * after every fourth. Comes back when enough is durable, with the number of the last write that is, and
 * goes on.
 */
function storm(tab: Tab): Promise<number> {
  return tab.evaluate(
    async ({ slots, bytes, enough }) => {
      const { disk } = globalThis as unknown as Kept;
      const put = (number: number): Promise<void> =>
        disk.write(
          (number % slots) * bytes,
          new Uint8Array(new Uint32Array(bytes / 4).fill(number).buffer),
        );
      return new Promise<number>((resolve, reject) => {
        const blow = async (): Promise<void> => {
          for (let number = 1; ; number += 4) {
            await Promise.all([put(number), put(number + 1)]);
            await Promise.all([put(number + 2), put(number + 3)]);
            await disk.flush();
            if (number >= enough) resolve(number + 3);
          }
        };
        blow().catch(reject);
      });
    },
    { slots: SLOTS, bytes: SLOT_BYTES, enough: STORM_WRITES },
  );
}

/**
 * Looks for what the storm left. A slot holds the last write that was durable, or parts of later ones;
 * answers the slots that hold something else.
 */
function findLost(tab: Tab, durable: number): Promise<string[]> {
  return tab.evaluate(
    async ({ slots, bytes, durable }) => {
      const { disk } = globalThis as unknown as Kept;
      const lost: string[] = [];
      for (let slot = 0; slot < slots; slot++) {
        const back = new Uint8Array(bytes);
        await disk.read(slot * bytes, back);
        const least = Math.max(durable - ((durable - slot + slots) % slots), 0);
        for (const word of new Set(new Uint32Array(back.buffer))) {
          const known = word >= least && (word % slots === slot || word === 0);
          if (!known) lost.push(`slot ${slot}: ${word} where ${least} was durable`);
        }
      }
      return lost;
    },
    { slots: SLOTS, bytes: SLOT_BYTES, durable },
  );
}

const killed: DiskCase = {
  name: 'killed in a write storm, the browser loses nothing that was flushed, in OPFS and IndexedDB',
  kills: true,
  async run(rig) {
    const storages = Object.keys(STORAGES) as Storage[];
    const durable: number[] = [];
    for (const storage of storages) {
      const { image, create } = qcow2In(storage, 'storm');
      const tab = await blankTab(rig);
      expect(await open(tab, rig.entry, image, create)).toBe('');
      durable.push(await storm(tab));
    }
    await rig.kill();
    for (const [at, storage] of storages.entries()) {
      const tab = await blankTab(rig);
      expect(await open(tab, rig.entry, qcow2In(storage, 'storm').image)).toBe('');
      expect(await findLost(tab, durable[at]!)).toEqual([]);
      await expectSound(tab);
    }
  },
};

function inUseCase(storage: Storage): DiskCase {
  return {
    name: `a second tab hears that the disk is in use, and gets it afterwards: ${storage}`,
    kills: false,
    async run(rig) {
      const { image, create } = qcow2In(storage, 'in-use');
      const tab = await blankTab(rig);
      expect(await open(tab, rig.entry, image, create)).toBe('');
      await write(tab, 0, 1);
      const other = await blankTab(rig);
      const refusal = await open(other, rig.entry, image);
      expect(refusal).toContain('EBUSY');
      expect(refusal).toMatch(/another (tab|page|window)/);
      expect(await read(tab, 0)).toBe(1);
      await write(tab, 0, 2);
      await close(tab);
      expect(await open(other, rig.entry, image)).toBe('');
      expect(await read(other, 0)).toBe(2);
    },
  };
}

const chosenFile: DiskCase = {
  name: 'a file that a person chose is read through an overlay',
  kills: false,
  async run(rig) {
    const tab = await blankTab(rig);
    const answer = await tab.evaluate(async (entry) => {
      const { openDisk, createDisk } = (await import(entry)) as typeof Diskplane;
      const blob = new File([new Uint8Array(1_024_000).fill(5)], 'chosen.img');
      const file = { driver: 'idb', database: 'overlay.qcow2' };
      await createDisk({ driver: 'qcow2', file, size: blob.size });
      const backing = { driver: 'raw', file: { driver: 'blob', blob } };
      const disk = await openDisk({ driver: 'qcow2', file, backing });
      await disk.write(500_000, new Uint8Array(512).fill(6));
      await disk.flush();
      const back = new Uint8Array(1024);
      await disk.read(499_744, back);
      await disk.close();
      return [back[0], back[256], back[767], back[768]];
    }, rig.entry);
    expect(answer).toEqual([5, 6, 6, 5]);
  },
};

const pageGone: DiskCase = {
  name: 'a page that goes away lets go of its disk',
  kills: false,
  async run(rig) {
    const { image, create } = qcow2In('OPFS', 'page-gone');
    const tab = await blankTab(rig);
    expect(await open(tab, rig.entry, image, create)).toBe('');
    await write(tab, 0, 3);
    for (let i = 0; i < 3; i++) {
      await tab.goto(`blank.html?${i}`);
      expect(await open(tab, rig.entry, image)).toBe('');
      expect(await read(tab, 0)).toBe(3);
    }
  },
};

const workerTerminated: DiskCase = {
  name: 'a worker terminated behind our back fails every call at once',
  kills: false,
  async run(rig) {
    const tab = await blankTab(rig);
    await tab.evaluate(() => {
      const kept = globalThis as unknown as Kept;
      kept.workers = [];
      globalThis.Worker = class extends Worker {
        constructor(url: string | URL, options?: WorkerOptions) {
          super(url, options);
          kept.workers.push(this);
        }
      };
    }, undefined);
    const options = { driver: 'null-co', size: '1M', 'latency-ns': 60_000_000_000 };
    expect(await open(tab, rig.entry, options)).toBe('');
    const errors = await tab.evaluate(async () => {
      const { disk, workers } = globalThis as unknown as Kept;
      const reading = disk.read(0, new Uint8Array(512));
      await disk.stats();
      workers.at(-1)!.terminate();
      // The worker may still answer what it was at; once one call failed, all do.
      const pending = await Promise.allSettled([reading]);
      const settled = [...pending, ...(await Promise.allSettled([disk.stats(), disk.flush()]))];
      return settled.map((one) =>
        one.status === 'rejected' ? (one.reason as Diskplane.BlockError).code : 'resolved',
      );
    }, undefined);
    expect(errors).toEqual(['ENODEV', 'ENODEV', 'ENODEV']);
    expect(await events(tab)).toContain('IOTHREAD_FAILED');
  },
};

const networkErrors: DiskCase = {
  name: 'errors of the network reach the reader, never zeros',
  kills: false,
  async run(rig) {
    const { images } = rig;
    images.setFile('/disk.img', { bytes: new Uint8Array(4 * 1024 * 1024).fill(9) });
    const http = { driver: 'http', url: `${images.url}/disk.img`, timeout: 1, readahead: 0 };
    const tab = await blankTab(rig);
    expect(await open(tab, rig.entry, { driver: 'raw', file: http })).toBe('');
    expect(await read(tab, 0)).toBe(9);
    images.setFault('/disk.img', { kind: 'status', status: 500 });
    const failed = await tab.evaluate(async () => {
      const { disk } = globalThis as unknown as Kept;
      return disk.read(3 * 1024 * 1024, new Uint8Array(4096)).then(
        () => 'resolved',
        (error: Diskplane.BlockError) => error.code,
      );
    }, undefined);
    expect(failed).toBe('EIO');
    images.setFault('/disk.img', undefined);
    expect(await read(tab, 3 * 1024 * 1024)).toBe(9);
    expect(await events(tab)).toContain('BLOCK_IO_ERROR');
  },
};

export const diskCases: readonly DiskCase[] = [
  killed,
  inUseCase('OPFS'),
  inUseCase('IndexedDB'),
  chosenFile,
  pageGone,
  workerTerminated,
  networkErrors,
];
