// Entries of a refcount block: unsigned numbers of 1 << order bits, order 0 to 6. Below a byte the
// lowest bits come first; above, the bytes are big-endian.

/** The largest refcount that `order` can say (2^53 - 1 for 64 bits). */
export function maxRefcount(order: number): number {
  return order === 6 ? Number.MAX_SAFE_INTEGER : 2 ** (1 << order) - 1;
}

/** Entry `index` of the block, or part of a block, in `view`. Above 2^53 it is not exact. */
export function getRefcount(view: DataView, order: number, index: number): number {
  switch (order) {
    case 4:
      return view.getUint16(index * 2);
    case 3:
      return view.getUint8(index);
    case 5:
      return view.getUint32(index * 4);
    case 6:
      return view.getUint32(index * 8) * 0x1_0000_0000 + view.getUint32(index * 8 + 4);
    default: {
      const bits = 1 << order;
      const perByte = 8 >> order;
      const shift = (index % perByte) * bits;
      return (view.getUint8(Math.floor(index / perByte)) >> shift) & ((1 << bits) - 1);
    }
  }
}

/** Sets entry `index`; `value` is at most `maxRefcount(order)`. */
export function setRefcount(view: DataView, order: number, index: number, value: number): void {
  switch (order) {
    case 4:
      view.setUint16(index * 2, value);
      return;
    case 3:
      view.setUint8(index, value);
      return;
    case 5:
      view.setUint32(index * 4, value);
      return;
    case 6:
      view.setUint32(index * 8, Math.floor(value / 0x1_0000_0000));
      view.setUint32(index * 8 + 4, value);
      return;
    default: {
      const bits = 1 << order;
      const perByte = 8 >> order;
      const at = Math.floor(index / perByte);
      const shift = (index % perByte) * bits;
      const mask = ((1 << bits) - 1) << shift;
      view.setUint8(at, (view.getUint8(at) & ~mask) | (value << shift));
    }
  }
}
