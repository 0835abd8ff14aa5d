// Where bytes come from: this layer (and where in its file), or the layer below.

import type { Ret } from '../../../base/ret.ts';
import type { BlockStatus } from '../../block-driver.ts';
import { COMPRESSED, DATA, DATA_SHARED, UNALLOCATED } from './cluster-map.ts';
import type { Qcow2Image } from './image.ts';

/** The state at `offset`; a number is a negated errno. */
export function blockStatus(
  image: Qcow2Image,
  offset: number,
  bytes: number,
): BlockStatus | Ret | Promise<BlockStatus | Ret> {
  let status: BlockStatus | undefined;
  const ret = image.faults.retry(() => {
    const mapped = image.map.map(offset, bytes);
    if (mapped === 0) status = describe(image, offset);
    return mapped;
  });
  if (typeof ret === 'number') return ret < 0 ? ret : status!;
  return ret.then((later) => (later < 0 ? later : status!));
}

function describe(image: Qcow2Image, offset: number): BlockStatus {
  const { kind, bytes, host } = image.map;
  switch (kind) {
    case DATA:
    case DATA_SHARED:
      return { bytes, allocated: true, zero: false, fileOffset: host };
    case COMPRESSED:
      return { bytes, allocated: true, zero: false };
    case UNALLOCATED: {
      // Past the end of a short backing file there are zeroes, as where there is none.
      const below = Math.max((image.backing?.length ?? 0) - offset, 0);
      if (below === 0) return { bytes, allocated: false, zero: true };
      return { bytes: Math.min(bytes, below), allocated: false, zero: false };
    }
    default:
      return { bytes, allocated: true, zero: true };
  }
}
