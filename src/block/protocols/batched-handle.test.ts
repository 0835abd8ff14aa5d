// Batches over a handle that counts: as the file, whatever comes; and how few calls that takes.

import { describe, expect, it } from 'vitest';
import { OpfsDouble } from '../../testing/opfs-double.ts';
import { Prng } from '../../testing/prng.ts';
import { BatchedHandle, WINDOW_BYTES } from './batched-handle.ts';

const KIB = 1024;
const PAGE = 4 * KIB;

interface Batched {
  readonly opfs: OpfsDouble;
  readonly handle: BatchedHandle;
  /** What the file holds, past what is in memory. */
  readonly stored: () => Uint8Array;
}

async function batched(size: number, windows?: number): Promise<Batched> {
  const opfs = new OpfsDouble();
  const file = await (await opfs.root()).getFileHandle('a', { create: true });
  const handle = await file.createSyncAccessHandle!();
  handle.truncate(size);
  opfs.calls.length = 0;
  return {
    opfs,
    handle: new BatchedHandle(handle, windows),
    stored: () => opfs.files.get('a')!.bytes,
  };
}

describe('a handle whose calls are dear', () => {
  it('reads 256 KiB at a time where reads go on in order, 64 KiB where they do not', async () => {
    const { opfs, handle } = await batched(8 * WINDOW_BYTES);
    const page = new Uint8Array(PAGE);
    for (let at = 0; at < 4 * WINDOW_BYTES; at += PAGE)
      expect(handle.read(page, { at })).toBe(PAGE);
    expect(opfs.calls).toEqual([0, 1, 2, 3].map((i) => `read ${i * WINDOW_BYTES} ${WINDOW_BYTES}`));
    opfs.calls.length = 0;
    handle.read(page, { at: 6 * WINDOW_BYTES + 100 * KIB });
    handle.read(page, { at: 6 * WINDOW_BYTES + 70 * KIB });
    expect(opfs.calls).toEqual([`read ${6 * WINDOW_BYTES + 64 * KIB} ${64 * KIB}`]);
    handle.read(page, { at: 6 * WINDOW_BYTES + 126 * KIB });
    expect(opfs.calls[1]).toBe(`read ${6 * WINDOW_BYTES + 128 * KIB} ${128 * KIB}`);
  });

  it('writes with a flush, in the order of the file, what lies together in one call', async () => {
    const { opfs, handle, stored } = await batched(4 * WINDOW_BYTES);
    const page = new Uint8Array(PAGE).fill(1);
    for (const at of [2 * WINDOW_BYTES, 12, 12 + PAGE, 2 * WINDOW_BYTES + PAGE])
      handle.write(page, { at });
    expect(opfs.calls).toEqual([]);
    handle.flush();
    expect(opfs.calls).toEqual([
      `write 12 ${2 * PAGE}`,
      `write ${2 * WINDOW_BYTES} ${2 * PAGE}`,
      'flush 0 0',
    ]);
    handle.flush();
    expect(opfs.calls.slice(3)).toEqual(['flush 0 0']);
    expect([stored()[11], stored()[12], stored()[12 + 2 * PAGE]]).toEqual([0, 1, 0]);
  });

  it('is as the file after every flush, and as was written before, through random operations', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const prng = new Prng(seed);
      let model = new Uint8Array(7 * WINDOW_BYTES);
      const { opfs, handle, stored } = await batched(model.length, 3);
      if (prng.chance(30)) opfs.maxTransfer = 100_000;
      for (let step = 0; step < 150; step++) {
        const where = `seed ${seed}, step ${step}`;
        const bytes = prng.pick([PAGE, 1 + prng.below(3 * PAGE), WINDOW_BYTES, 300_000]);
        const at = prng.below(prng.chance(50) ? 3 * WINDOW_BYTES : model.length);
        const dice = prng.below(100);
        if (dice < 45) {
          const buffer = new Uint8Array(bytes);
          const got = handle.read(buffer, { at });
          expect(got, where).toBeGreaterThan(0);
          const wanted = model.subarray(at, at + got);
          expect(Buffer.compare(buffer.subarray(0, got), wanted), where).toBe(0);
        } else if (dice < 90) {
          const data = prng.bytes(bytes);
          const taken = handle.write(data, { at });
          if (at + taken > model.length) model = resized(model, at + taken);
          model.set(data.subarray(0, taken), at);
        } else if (dice < 95) {
          handle.flush();
          expect(Buffer.compare(stored(), model), where).toBe(0);
        } else {
          model = resized(
            model,
            Math.max(model.length + prng.below(400_000) - 200_000, 3 * WINDOW_BYTES),
          );
          handle.truncate(model.length);
        }
        expect(handle.getSize(), where).toBe(model.length);
      }
      handle.close();
      expect(Buffer.compare(stored(), model), `seed ${seed}`).toBe(0);
      expect(opfs.openHandles).toBe(0);
    }
  });

  it('keeps what could not be written, and says so with each flush until it can', async () => {
    const { opfs, handle, stored } = await batched(WINDOW_BYTES);
    const page = new Uint8Array(PAGE).fill(1);
    handle.write(page, { at: 0 });
    for (let i = 0; i < 2; i++) {
      opfs.failures.push({ call: 'write', name: 'QuotaExceededError' });
      expect(() => handle.flush()).toThrow('QuotaExceededError');
      expect(stored()[0]).toBe(0);
    }
    handle.flush();
    expect(stored()[0]).toBe(1);
    opfs.quotaStyle = 'short';
    opfs.maxTransfer = 0;
    handle.write(page, { at: PAGE });
    expect(() => handle.flush()).toThrow(expect.objectContaining({ name: 'QuotaExceededError' }));
  });
});

function resized(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(length);
  made.set(bytes.subarray(0, length));
  return made;
}
