// What end-to-end tests do with the Linux guest on the workbench page, and with its disk afterwards.

import type { Download, Page } from '@playwright/test';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkbenchHooks } from '../src/demo/test-hooks.ts';
import { expect, test } from './fixtures.ts';
import type * as GuestRig from './guest-rig.ts';

/** The page's global object. */
export interface Hooked {
  diskplane: WorkbenchHooks;
}

/** For the guest: writes files, each synced and noted with its sum before the next; says which on the console. */
export const STORM: string =
  'mkdir -p /storm; i=0; while :; do i=$((i+1)); ' +
  'dd if=/dev/urandom of=/storm/f$i bs=32k count=$((i % 7 + 1)) conv=fsync 2>/dev/null; ' +
  'md5sum /storm/f$i >> /storm/sums; sync; echo "SYNC""ED $i"; done';

/** Number of the last file of STORM that the guest said was synced. */
export function lastSynced(said: string): number {
  return Math.max(...[...said.matchAll(/SYNCED (\d+)/g)].map(([, n]) => Number(n)));
}

/** Waits for the guest's prompt; answers how often this disk was booted. */
export async function booted(page: Page): Promise<number> {
  await page
    .locator('body[data-state=running], body[data-state=error]')
    .waitFor({ timeout: 150_000 });
  expect(await page.locator('body').getAttribute('data-state')).toBe('running');
  const text = await page.evaluate(() => (globalThis as unknown as Hooked).diskplane.serialText);
  return Number(/GUEST-READY root=\/dev\/vda boots=(\d+)/.exec(text)?.[1]);
}

/** Runs a command in the guest's shell; answers what it printed. */
export function guestRun(page: Page, command: string): Promise<string> {
  return page.evaluate(async (command) => {
    const { machine } = (globalThis as unknown as Hooked).diskplane;
    const serial = machine!.serial;
    const from = serial.text.length;
    await serial.run(command, AbortSignal.timeout(120_000));
    // Without the echo of the command and the next prompt.
    return serial.text.slice(from).split('\n').slice(1, -1).join('\n');
  }, command);
}

/** Boots a guest in `page`, as `globalThis.rig`; `module` is the URL of guest-rig.ts. */
export function bootRig(page: Page, module: string, options: GuestRig.RigOptions): Promise<string> {
  return page.evaluate(
    async ({ module, options }) => ((await import(module)) as typeof GuestRig).boot(options),
    { module, options },
  );
}

/** Types to the guest of `bootRig`; answers what it says until its next prompt. */
export function type(page: Page, keys: string): Promise<string> {
  return page.evaluate((keys) => rig.type(keys), keys);
}

function run(tool: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${process.env['PATH']}:/sbin:/usr/sbin` };
  return execFileSync(tool, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The tools that judge a disk: where one is missing, the test fails under CI and is skipped else. */
export function needTools(): void {
  const missing = ['qemu-img', 'e2fsck', 'debugfs'].filter((tool) => {
    try {
      execFileSync('sh', ['-c', `PATH=$PATH:/sbin:/usr/sbin command -v ${tool}`], {
        stdio: 'ignore',
      });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length > 0 && process.env['CI']) throw new Error(`missing: ${missing.join(', ')}`);
  test.skip(missing.length > 0, `missing: ${missing.join(', ')}`);
}

/** Presses "Download overlay" and calls `use` with the file, in a folder that goes afterwards. */
export async function withOverlay(
  page: Page,
  use: (overlay: string, folder: string) => void,
): Promise<void> {
  await page.evaluate(() => Reflect.deleteProperty(globalThis, 'showSaveFilePicker'));
  const [download]: [Download, void] = await Promise.all([
    page.waitForEvent('download', { timeout: 60_000 }),
    page.getByTestId('download').click({ timeout: 10_000 }),
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'diskplane-e2e-'));
  try {
    const overlay = join(folder, 'overlay.qcow2');
    await download.saveAs(overlay);
    use(overlay, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the real `qemu-img check` counts. */
export function qemuCheck(overlay: string): { corruptions: number; leaks: number; errors: number } {
  let json: string;
  try {
    // The overlay names its backing file by its URL, for which QEMU needs a module that may be missing.
    const file = { driver: 'file', filename: overlay };
    const alone = `json:${JSON.stringify({ driver: 'qcow2', file, backing: null })}`;
    json = run('qemu-img', 'check', '--output=json', alone);
  } catch (error) {
    // It exits with 2 or 3 when it finds something, and says what all the same.
    json = (error as { stdout: string }).stdout;
  }
  const report = JSON.parse(json) as Record<string, number>;
  return {
    corruptions: report['corruptions'] ?? 0,
    leaks: report['leaks'] ?? 0,
    errors: report['check-errors'] ?? -1,
  };
}

/** What a kill in the midst of writing may leave of clusters that nobody uses. */
export type Tolerance = 'clean' | 'leaks at most';

/** qemu-img, e2fsck and debugfs on the overlay: clean, and the files of /data are in it. Answers the counts. */
export function judgeFiles(
  work: string,
  overlay: string,
  base: string,
  sums: string,
  tolerance: Tolerance = 'clean',
): object {
  const found = qemuCheck(overlay);
  const leaks = tolerance === 'clean' ? { leaks: 0 } : {};
  expect(found).toMatchObject({ corruptions: 0, errors: 0, ...leaks });
  const flat = flatten(work, overlay, base);
  run('e2fsck', '-fn', flat); // Throws when it exits with anything but 0: clean.
  checkFiles(work, flat, '/data', sums);
  return found;
}

/**
 * The same after a power cut in the midst of writing: the journal is played back first, as the next boot
 * would. The first `synced` files that `sums` in the guest's `folder` names are whole.
 */
export function judgeAfterCrash(
  work: string,
  overlay: string,
  base: string,
  folder: string,
  synced: number,
): void {
  expect(qemuCheck(overlay)).toMatchObject({ corruptions: 0, errors: 0 });
  const flat = flatten(work, overlay, base);
  repair(flat);
  run('e2fsck', '-fn', flat);
  const sums = join(work, 'sums');
  run('debugfs', '-R', `dump ${folder}/sums ${sums}`, flat);
  const lines = readFileSync(sums, 'utf8').replaceAll(`${folder}/`, '').trim().split('\n');
  expect(lines.length).toBeGreaterThanOrEqual(synced);
  checkFiles(work, flat, folder, lines.slice(0, synced).join('\n'));
}

/** Plays the journal back, and what a boot would do besides; throws where that is not enough. */
function repair(flat: string): void {
  try {
    run('e2fsck', '-fp', flat);
  } catch (error) {
    // 1: repaired.
    if ((error as { status: number }).status !== 1) throw error;
  }
}

function flatten(work: string, overlay: string, base: string): string {
  // The overlay names its backing file by its URL; QEMU is told of a copy.
  copyFileSync(base, join(work, 'base.img'));
  run('qemu-img', 'rebase', '-u', '-b', join(work, 'base.img'), '-F', 'raw', overlay);
  const flat = join(work, 'flat.img');
  run('qemu-img', 'convert', '-O', 'raw', overlay, flat);
  return flat;
}

/** `sums` as md5sum writes them, of files of the guest's `folder`. */
function checkFiles(work: string, flat: string, folder: string, sums: string): void {
  for (const line of sums.split('\n')) {
    const [md5, name] = line.trim().split(/\s+/);
    const out = join(work, 'file');
    run('debugfs', '-R', `dump ${folder}/${name} ${out}`, flat);
    expect(createHash('md5').update(readFileSync(out)).digest('hex'), name).toBe(md5);
  }
}
