// The first bytes of an image whose format was guessed to be raw: what would make it look like another format
// is refused. Loaded for such images.

import { IOVector } from '../../base/io-vector.ts';
import { EPERM, OK, andThen } from '../../base/ret.ts';
import type { MaybeRet } from '../../base/ret.ts';
import type { BlockChild } from '../block-child.ts';
import { PROBE_BYTES } from '../block-driver.ts';
import type { DriverState, HeadGuard } from '../block-driver.ts';

/** Writes to the head of `image`, which begins at `start` in `file`, unless another format's `probe` would take it. */
export function guardHead(
  file: BlockChild,
  start: number,
  image: Pick<DriverState, 'length'>,
  guard: HeadGuard,
): (offset: number, qiov: IOVector, flags: number) => MaybeRet {
  return (offset, qiov, flags) => {
    const head = new Uint8Array(Math.min(PROBE_BYTES, image.length));
    const bytes = Math.min(qiov.size, head.length - offset);
    const old = bytes === head.length ? OK : file.preadv(start, IOVector.of(head), 0);
    return andThen(old, () => {
      qiov.copyTo(head, offset, 0, bytes);
      if (guard(head) !== undefined) return -EPERM;
      return file.pwritev(start + offset, qiov, flags);
    });
  };
}
