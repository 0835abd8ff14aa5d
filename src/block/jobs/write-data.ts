// Writes a piece of a disk into a new image, which reads as zeroes: all but what is zero.

import { IOVector } from '../../base/io-vector.ts';
import { isZero } from '../../base/zeroes.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { BlockBackend } from '../block-backend.ts';
import { roundUp } from '../shaping.ts';

/** Zeroes are looked for in units of this many bytes: a cluster, as most images have them. */
const GRAIN_BYTES = 64 * 1024;

/** Writes what is not zero of `piece`, the bytes at `at`, in as few requests as that takes. */
export function writeData(target: BlockBackend, at: number, piece: Uint8Array): MaybeRet {
  const pending: Promise<Ret>[] = [];
  let first: Ret = 0;
  const write = (from: number, to: number): void => {
    const ret = target.pwritev(at + from, IOVector.of(piece.subarray(from, to)));
    if (typeof ret !== 'number') pending.push(ret);
    else first = Math.min(first, ret);
  };
  let from = -1;
  for (let grain = 0; grain < piece.length;) {
    const end = Math.min(roundUp(at + grain + 1, GRAIN_BYTES) - at, piece.length);
    if (!isZero(piece, grain, end)) {
      if (from < 0) from = grain;
    } else if (from >= 0) {
      write(from, grain);
      from = -1;
    }
    grain = end;
  }
  if (from >= 0) write(from, piece.length);
  if (pending.length === 0) return first;
  return Promise.all(pending).then((rets) => Math.min(first, ...rets));
}
