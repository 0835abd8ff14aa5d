// A disk of three images - qcow2 over qcow2 over raw, of sizes that are no multiple of a cluster -
// written by the real qemu-io at random; and how it is opened here.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Prng } from './prng.ts';
import { qemuImgOk, qemuIo } from './qemu.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const VERBS = ['write -P 7', 'write -P 9', 'write -z', 'write -z -u', 'discard'];

export interface QemuChain {
  /** Path of the top image. */
  readonly top: string;
  /** Options that open it. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Makes one in `folder`. */
export function makeQemuChain(folder: string, prng: Prng): QemuChain {
  const path = (name: string): string => join(folder, name);
  const file = (name: string): object => ({ driver: 'file', filename: path(name) });
  writeFileSync(path('base.raw'), prng.bytes(3 * MIB));
  makeOverlay(path('middle.qcow2'), path('base.raw'), 'raw', 5 * MIB, prng);
  makeOverlay(path('top.qcow2'), path('middle.qcow2'), 'qcow2', 8 * MIB, prng);
  const base = { driver: 'raw', file: file('base.raw') };
  const backing = { driver: 'qcow2', file: file('middle.qcow2'), backing: base };
  return {
    top: path('top.qcow2'),
    options: { driver: 'qcow2', file: file('top.qcow2'), backing },
  };
}

function makeOverlay(path: string, below: string, format: string, least: number, prng: Prng): void {
  const size = least + 512 * prng.below(200);
  const options = `cluster_size=${prng.pick([4 * KIB, 64 * KIB])}`;
  const over = ['-b', below, '-F', format];
  qemuImgOk('create', '-q', '-f', 'qcow2', '-o', options, ...over, path, `${size}`);
  const commands = Array.from({ length: 20 }, () => {
    const step = prng.pick([4 * KIB, 64 * KIB, MIB]);
    const offset = prng.below(Math.ceil(size / step)) * step;
    const bytes = Math.min(step * (1 + prng.below(3)), size - offset);
    return `${prng.pick(VERBS)} ${offset} ${bytes}`;
  });
  const io = qemuIo(path, 'qcow2', commands);
  if (io.status !== 0) throw new Error(io.output);
}
