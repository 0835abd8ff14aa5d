// The work of copy on read (bdrv_co_do_copy_on_readv): what a read finds in the backing image is stored in the layer above,
// so that it is fetched once. The caller keeps every other request away from the range meanwhile, and nothing
// that the guest sees changes: neither its bytes nor the disk's generation.

import { IOVector } from '../base/io-vector.ts';
import { EIO, OK } from '../base/ret.ts';
import type { Ret } from '../base/ret.ts';
import { isZero } from '../base/zeroes.ts';
import { REQ_WRITE_UNCHANGED } from './block-driver.ts';
import type { DriverState } from './block-driver.ts';
import { readShaped, roundUp, writeShaped, zeroesShaped } from './shaping.ts';

/** Copied at a time, bytes. */
const COPY_BYTES = 1024 * 1024;

/**
 * Fills `qiov`, the bytes at `offset`, and stores what of `[start, end)` around it comes from below. Where
 * storing fails the read does not: the bytes are right, and the next read tries again.
 */
export async function copyUp(
  state: DriverState,
  start: number,
  end: number,
  offset: number,
  qiov: IOVector,
): Promise<Ret> {
  const stop = offset + qiov.size;
  if (state.blockStatus === undefined) return readShaped(state, offset, qiov);
  for (let at = start, run = 0; at < end; at += run) {
    const status = await state.blockStatus(at, end - at);
    if (typeof status === 'number') return Math.min(status, -1);
    if (!(status.bytes > 0)) return -EIO;
    run = Math.min(status.bytes, end - at);
    const from = Math.max(at, offset);
    if (status.allocated || status.zero) {
      const to = Math.min(at + run, stop);
      if (from >= to) continue;
      const ret = await readShaped(state, from, qiov.slice(from - offset, to - from));
      if (ret < 0) return ret;
      continue;
    }
    run = Math.min(run + (await restOfCluster(state, at + run, end)), COPY_BYTES);
    const bytes = new Uint8Array(run);
    const ret = await readShaped(state, at, IOVector.of(bytes));
    if (ret < 0) return ret;
    const to = Math.min(at + run, stop);
    if (from < to) qiov.copyFrom(bytes, from - at, from - offset, to - from);
    await store(state, at, bytes);
  }
  return OK;
}

/** What is left of the cluster that a run ends in at `at`, where that comes from below as well; bytes. */
async function restOfCluster(state: DriverState, at: number, end: number): Promise<number> {
  const rest = Math.min(roundUp(at, state.limits.pwriteZeroesAlignment), end) - at;
  if (rest <= 0) return 0;
  const status = await state.blockStatus!(at, rest);
  return typeof status === 'number' || status.allocated || status.bytes < rest ? 0 : rest;
}

async function store(state: DriverState, at: number, bytes: Uint8Array): Promise<Ret> {
  const { supportedWriteFlags, supportedZeroFlags } = state.limits;
  const writeFlags = REQ_WRITE_UNCHANGED & supportedWriteFlags;
  if (!isZero(bytes)) return writeShaped(state, at, IOVector.of(bytes), writeFlags);
  const zeroFlags = REQ_WRITE_UNCHANGED & supportedZeroFlags;
  const turn = async (): Promise<Ret> => OK;
  return zeroesShaped(state, at, bytes.length, { zeroFlags, writeFlags, flags: 0, turn });
}
