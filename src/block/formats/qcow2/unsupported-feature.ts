// Says in words which feature of an image we do not have: loaded when there is one. Programs write the
// names of features into their images (the feature name table), so that older ones can tell them.

import { text } from './header.ts';
import type { Qcow2Header } from './header.ts';
import {
  FEATURE_NAME_BYTES, INCOMPAT_COMPRESSION, INCOMPAT_CORRUPT, INCOMPAT_DATA_FILE, INCOMPAT_DIRTY,
  INCOMPAT_EXTL2,
} from './spec.ts'; // prettier-ignore

/** The first that `checkFeatures` refuses. */
export function unsupportedFeature(header: Qcow2Header): string {
  const bits = header.incompatibleFeatures;
  if (bits & INCOMPAT_DATA_FILE) return 'external data file';
  if (bits & INCOMPAT_EXTL2) return 'extended L2 entries';
  const unknown = bits & ~(INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION);
  for (let bit = 0; bit < 64; bit++) {
    if (((unknown >> BigInt(bit)) & 1n) === 0n) continue;
    return incompatibleName(header.featureNames, bit) ?? `unknown incompatible feature bit ${bit}`;
  }
  if (header.cryptMethod !== 0) return `encryption (method ${header.cryptMethod})`;
  return `compression type ${header.compressionType}`;
}

/** An entry is the kind of feature (0: incompatible), its bit, and its name. The last one counts. */
function incompatibleName(table: Uint8Array, bit: number): string | undefined {
  let name: string | undefined;
  for (let i = 0; i + FEATURE_NAME_BYTES <= table.length; i += FEATURE_NAME_BYTES) {
    if (table[i] === 0 && table[i + 1] === bit)
      name = text(table.subarray(i + 2, i + FEATURE_NAME_BYTES));
  }
  return name;
}
