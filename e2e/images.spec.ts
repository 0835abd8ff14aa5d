// Images into the browser's storage and out of it again, in a page: a qcow2 file that somebody chose is
// imported, used, exported, and is then what the real qemu-img makes of the same writes. What is aborted
// leaves nothing behind, and an overlay that is reset is its base again.

import type { Page } from '@playwright/test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Diskplane from '../src/index.ts';
import { haveQemu, qemuImg, qemuImgOk, qemuIo } from '../src/testing/qemu.ts';
import { expect, test } from './fixtures.ts';

const MIB = 1024 * 1024;
let folder: string;
test.beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'diskplane-images-'))));
test.afterAll(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);

/** Where images go, and how the page reaches the thread that puts them there. */
const WAYS = [
  { where: 'OPFS', by: 'shared', file: { driver: 'opfs', path: 'images/chosen.qcow2' } },
  { where: 'IndexedDB', by: 'messages', file: { driver: 'idb', database: 'chosen.qcow2' } },
] as const;

/** All that the page's origin keeps, and who holds some of it. */
function stored(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const names: string[] = [];
    const walk = async (directory: FileSystemDirectoryHandle, at: string): Promise<void> => {
      for await (const handle of directory.values()) {
        const name = `${at}/${handle.name}`;
        if (handle.kind === 'directory') await walk(handle, name);
        else names.push(`${name} ${(await handle.getFile()).size}`);
      }
    };
    await walk(await navigator.storage.getDirectory(), 'opfs:');
    for (const { name } of await indexedDB.databases()) names.push(`idb:${name}`);
    const { held } = await navigator.locks.query();
    for (const { name } of held ?? []) if (/:(opfs|idb):/.test(name!)) names.push(`held: ${name}`);
    return names;
  });
}

function bytesOf(dataUrl: string): Buffer {
  return Buffer.from(dataUrl.slice(dataUrl.indexOf(',') + 1), 'base64');
}

for (const { where, by, file } of WAYS) {
  test(`a qcow2 file is imported into ${where}, written to, and exported: ${by}`, async ({
    page,
    images,
    sourceURL,
  }) => {
    test.skip(!haveQemu(), 'qemu-img is not installed');
    const size = 12 * MIB + 512;
    qemuImgOk('create', '-q', '-f', 'qcow2', path('chosen.qcow2'), `${size}`);
    const writes = ['write -P 7 1M 3M', 'write -P 9 10000512 70000', 'write -z 2M 64k'];
    expect(qemuIo(path('chosen.qcow2'), 'qcow2', writes).status).toBe(0);
    images.setFile('/chosen.qcow2', { bytes: readFileSync(path('chosen.qcow2')) });
    await page.goto('blank.html');
    const answer = await page.evaluate(
      async ({ entry, url, file, by }) => {
        if (by === 'messages') Reflect.deleteProperty(globalThis, 'SharedArrayBuffer');
        const { importDisk, openDisk, queryStorage, persistStorage } = (await import(
          entry
        )) as typeof Diskplane;
        const chosen = new File([await (await fetch(url)).blob()], 'chosen.qcow2');
        const reports: Diskplane.Progress[] = [];
        await importDisk(chosen, file, { onProgress: (progress) => reports.push(progress) });
        const disk = await openDisk({ driver: 'qcow2', file });
        await disk.write(5_000_000, new Uint8Array(100_000).fill(5));
        await disk.writeZeroes(1024 * 1024, 65536);
        const { transport } = disk;
        const url64 = async (format: 'raw' | 'qcow2'): Promise<string> => {
          const reader = new FileReader();
          reader.readAsDataURL(await new Response(disk.exportImage({ format })).blob());
          await new Promise((resolve) => (reader.onload = resolve));
          return reader.result as string;
        };
        const [raw, qcow2] = [await url64('raw'), await url64('qcow2')];
        const check = await disk.check();
        await disk.close();
        const storage = await queryStorage();
        const persisted = await persistStorage();
        return {
          last: reports.at(-1),
          bytes: chosen.size,
          transport,
          raw,
          qcow2,
          check,
          storage,
          persisted,
        };
      },
      { entry: sourceURL('src/index.ts'), url: `${images.url}/chosen.qcow2`, file, by },
    );
    expect(answer.transport).toBe(by);
    expect(answer.last).toEqual({ done: answer.bytes, total: answer.bytes });
    expect(answer.check).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
    expect(answer.storage.usage).toBeGreaterThan(3 * MIB);
    expect(answer.storage.quota).toBeGreaterThan(answer.storage.usage!);
    expect(
      [answer.storage.persisted, answer.persisted].every((yes) => typeof yes === 'boolean'),
    ).toBe(true);

    const same = ['write -P 5 5000000 100000', 'write -z 1M 64k'];
    expect(qemuIo(path('chosen.qcow2'), 'qcow2', same).status).toBe(0);
    qemuImgOk('convert', '-f', 'qcow2', '-O', 'raw', path('chosen.qcow2'), path('wanted.raw'));
    expect(Buffer.compare(bytesOf(answer.raw), readFileSync(path('wanted.raw')))).toBe(0);
    writeFileSync(path('exported.qcow2'), bytesOf(answer.qcow2));
    const compared = qemuImg(
      'compare',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      path('exported.qcow2'),
      path('chosen.qcow2'),
    );
    expect(compared.output).toBe('Images are identical.\n');
    const checked = qemuImg('check', '-f', 'qcow2', path('exported.qcow2'));
    expect(checked.status, checked.output).toBe(0);
    // Neither zeroes nor what was never written.
    expect(bytesOf(answer.qcow2).length).toBeLessThan(4 * MIB);
  });
}

test('an import or a conversion that is aborted midway leaves nothing behind', async ({
  page,
  sourceURL,
}) => {
  await page.goto('blank.html');
  const before = await stored(page);
  const endings = await page.evaluate(
    async ({ entry, files }) => {
      const { importDisk, openDisk } = (await import(entry)) as typeof Diskplane;
      const big = new Blob(Array.from({ length: 64 }, () => new Uint8Array(1024 * 1024).fill(1)));
      const ended: string[] = [];
      const aborting = async (
        work: (options: Diskplane.JobOptions) => Promise<void>,
      ): Promise<void> => {
        const controller = new AbortController();
        const onProgress = ({ done, total }: Diskplane.Progress): void => {
          if (done > 0 && done < total) controller.abort(new Error(`midway`));
        };
        await work({ signal: controller.signal, onProgress }).then(
          () => ended.push('came to its end'),
          (error: Error) => ended.push(error.message),
        );
      };
      for (const file of files) {
        await aborting((options) => importDisk(big, file, options));
        await aborting((options) => importDisk(big.stream(), file, { size: big.size, ...options }));
        const backing = { driver: 'blob', blob: big };
        const disk = await openDisk({ driver: 'raw', file: backing });
        await aborting((options) => disk.convertTo({ driver: 'qcow2', file }, options));
        await disk.close();
      }
      return ended;
    },
    { entry: sourceURL('src/index.ts'), files: WAYS.map(({ file }) => file) },
  );
  expect(endings).toEqual(Array.from({ length: 6 }, () => 'midway'));
  expect(await stored(page)).toEqual(before);
});

test('an overlay that is reset is its base again, also after a reload', async ({
  page,
  sourceURL,
}) => {
  await page.goto('blank.html');
  const read = (reset: boolean): Promise<number[]> =>
    page.evaluate(
      async ({ entry, reset }) => {
        const { openDisk } = (await import(entry)) as typeof Diskplane;
        const blob = new Blob([new Uint8Array(4 * 1024 * 1024).fill(5)]);
        const disk = await openDisk({
          driver: 'qcow2',
          file: { driver: 'opfs', path: 'reset.qcow2', create: true },
          backing: { driver: 'raw', file: { driver: 'blob', blob } },
        });
        const seen: number[] = [];
        const look = async (): Promise<void> => {
          const bytes = new Uint8Array(2 * 1024 * 1024);
          await disk.read(0, bytes);
          seen.push(bytes[0]!, bytes.at(-1)!);
        };
        if (reset) {
          await disk.write(0, new Uint8Array(2 * 1024 * 1024).fill(6));
          await disk.flush();
          await look();
          await disk.reset();
        }
        await look();
        await disk.close();
        return seen;
      },
      { entry: sourceURL('src/index.ts'), reset },
    );
  expect(await read(true)).toEqual([6, 6, 5, 5]);
  const [file] = await stored(page);
  expect(Number(file!.split(' ')[1])).toBeLessThan(MIB);
  await page.reload();
  expect(await read(false)).toEqual([5, 5]);
});
