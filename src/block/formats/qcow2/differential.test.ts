// Both ways against the real qemu-img and qemu-io: their images read equal here, ours pass their
// check and compare equal there.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { Prng } from '../../../testing/prng.ts';
import { haveQemu, qemuImg, qemuImgOk, qemuIo, withTempDir } from '../../../testing/qemu.ts';
import { createQcow2, openQcow2, protocolNode } from '../../../testing/qcow2-images.ts';
import { RandomOps } from '../../../testing/random-disk-ops.ts';
import type { BlockNode } from '../../block-node.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

interface Shape {
  readonly cluster: number;
  readonly bits: number;
  readonly compat: '0.10' | '1.1';
  /** Of the disk, bytes. */
  readonly size: number;
  /** Of the backing file; 0 for none. */
  readonly backing: number;
  readonly lazy?: boolean;
}

const SHAPES: readonly Shape[] = [
  { cluster: 64 * KIB, bits: 16, compat: '1.1', size: 8 * MIB, backing: 0 },
  { cluster: 64 * KIB, bits: 16, compat: '1.1', size: 8 * MIB, backing: 5 * MIB + 512 },
  { cluster: 64 * KIB, bits: 16, compat: '0.10', size: 8 * MIB + 512, backing: 0 },
  { cluster: 64 * KIB, bits: 16, compat: '0.10', size: 8 * MIB, backing: 9 * MIB },
  { cluster: 512, bits: 1, compat: '1.1', size: 512 * KIB, backing: 0 },
  { cluster: 512, bits: 64, compat: '1.1', size: 512 * KIB + 512, backing: 512 * KIB },
  { cluster: 512, bits: 16, compat: '0.10', size: 512 * KIB, backing: 0 },
  { cluster: 4 * KIB, bits: 8, compat: '1.1', size: 4 * MIB, backing: 3 * MIB },
  { cluster: 4 * KIB, bits: 1, compat: '1.1', size: 4 * MIB + 1536, backing: 0, lazy: true },
  { cluster: 4 * KIB, bits: 32, compat: '1.1', size: 4 * MIB, backing: 0 },
  { cluster: 2 * MIB, bits: 16, compat: '1.1', size: 8 * MIB, backing: 7 * MIB },
  { cluster: 2 * MIB, bits: 2, compat: '1.1', size: 8 * MIB, backing: 0 },
  { cluster: 16 * KIB, bits: 4, compat: '1.1', size: 8 * MIB, backing: 12 * MIB, lazy: true },
];

function nameOf(shape: Shape): string {
  const { cluster, bits, compat, backing, lazy } = shape;
  const over = backing === 0 ? '' : `, backing of ${backing}`;
  return `cluster ${cluster}, ${bits} bits, compat ${compat}${over}${lazy === true ? ', lazy' : ''}`;
}

function options(shape: Shape): Record<string, unknown> {
  return {
    cluster_size: shape.cluster,
    compat: shape.compat,
    refcount_bits: shape.bits,
    lazy_refcounts: shape.lazy ?? false,
  };
}

/** Each step is of megabytes where clusters are, and there are few of them. */
function steps({ cluster }: Shape, usual: number): number {
  return cluster < MIB ? usual : usual / 3;
}

function backingNode(bytes: Uint8Array): BlockNode | undefined {
  return bytes.length === 0 ? undefined : protocolNode(new SimDisk(bytes), true, 'backing');
}

describe.skipIf(!haveQemu())('qcow2 and the real qemu-img', () => {
  it.each(SHAPES.map((shape, i) => [nameOf(shape), shape, i + 1] as const))(
    'reads what qemu-io wrote: %s',
    async (_name, shape, seed) => {
      await withTempDir(async (directory) => {
        const prng = new Prng(seed);
        const image = join(directory, 'i.qcow2');
        const base = join(directory, 'base.raw');
        const raw = join(directory, 'out.raw');
        const backing = prng.bytes(shape.backing);
        writeFileSync(base, backing);
        const list = Object.entries(options(shape))
          .map(([k, v]) => `${k}=${v === true ? 'on' : v === false ? 'off' : String(v)}`)
          .join(',');
        const over = shape.backing === 0 ? [] : ['-b', base, '-F', 'raw'];
        qemuImgOk('create', '-q', '-f', 'qcow2', ...over, '-o', list, image, String(shape.size));
        const commands: string[] = [];
        for (let i = 0; i < steps(shape, 120); i++) {
          const step = prng.pick([512, 4096, shape.cluster]);
          const offset = prng.below(Math.floor(shape.size / step)) * step;
          const wanted = prng.pick([512, 4096, shape.cluster, 3 * shape.cluster + 512]);
          const bytes = Math.min(wanted, shape.size - offset);
          const verb = prng.pick(['w', 'w', 'w', 'write -z', 'write -z -u', 'discard']);
          commands.push(
            `${verb === 'w' ? `write -P ${1 + prng.below(255)}` : verb} ${offset} ${bytes}`,
          );
        }
        const io = qemuIo(image, 'qcow2', commands);
        expect(io.status, io.output).toBe(0);
        qemuImgOk('convert', '-f', 'qcow2', '-O', 'raw', image, raw);
        const disk = new SimDisk(readFileSync(image));
        const opened = await openQcow2(disk, { readOnly: true, backing: backingNode(backing) });
        const model = Uint8Array.from(readFileSync(raw));
        expect(opened.node.length).toBe(model.length);
        const ops = new RandomOps(prng, model, { clusterSize: shape.cluster, maxBytes: MIB });
        await ops.check(opened.node);
        for (let i = 0; i < steps(shape, 50); i++) await ops.check(opened.node, ...ops.range());
        const result = await opened.node.check('none');
        expect(result.messages, `seed ${seed}`).toEqual([]);
        await opened.node.close();
      });
    },
  );

  it.each(SHAPES.map((shape, i) => [nameOf(shape), shape, i + 101] as const))(
    'writes what qemu-img finds good and equal: %s',
    async (_name, shape, seed) => {
      await withTempDir(async (directory) => {
        const prng = new Prng(seed);
        const image = join(directory, 'i.qcow2');
        const base = join(directory, 'base.raw');
        const raw = join(directory, 'model.raw');
        const backing = prng.bytes(shape.backing);
        writeFileSync(base, backing);
        const over = shape.backing === 0 ? {} : { backing_file: base, backing_fmt: 'raw' };
        const disk = new SimDisk(new Uint8Array(0));
        await createQcow2(disk, shape.size, { ...options(shape), ...over });
        const model = new Uint8Array(shape.size);
        model.set(backing.subarray(0, shape.size));
        const ops = new RandomOps(prng, model, {
          clusterSize: shape.cluster,
          maxBytes: Math.min(4 * shape.cluster + 512, 3 * MIB),
          maxLength: 2 * shape.size,
        });
        for (let round = 0; round < 2; round++) {
          // Tiny caches, so that tables come and go.
          const small = { 'l2-cache-size': 4096, 'refcount-cache-size': 0 };
          const opened = await openQcow2(disk, {
            backing: backingNode(backing),
            options: round === 0 ? small : {},
          });
          for (let i = 0; i < steps(shape, 70); i++) await ops.step(opened.node);
          await ops.check(opened.node);
          await opened.node.close();
          expect(opened.notices, `seed ${seed}`).toEqual([]);
          writeFileSync(image, disk.snapshot());
          writeFileSync(raw, ops.model);
          const check = qemuImg('check', '-f', 'qcow2', image);
          expect(check.status, `seed ${seed}: ${check.output}`).toBe(0);
          const compare = qemuImg('compare', '-f', 'qcow2', '-F', 'raw', image, raw);
          expect(compare.status, `seed ${seed}: ${compare.output}`).toBe(0);
        }
        const converted = join(directory, 'converted.raw');
        qemuImgOk('convert', '-f', 'qcow2', '-O', 'raw', image, converted);
        expect(Buffer.compare(readFileSync(converted), ops.model)).toBe(0);
      });
    },
  );
});
