// Stores a new generation in an image (generation.ts says what that is), with an extension made for it
// where there is none. Each step leaves a good header.

import { IOVector } from '../../../base/io-vector.ts';
import { OK } from '../../../base/ret.ts';
import type { MaybeRet } from '../../../base/ret.ts';
import { BlockError } from '../../block-error.ts';
import { roundUp8, viewOf } from './header.ts';
import type { StoredGeneration } from './header.ts';
import type { Qcow2Image } from './image.ts';
import {
  AUTOCLEAR_GENERATION, EXT_GENERATION, EXTENSION_HEAD_BYTES, GENERATION_BYTES, HEADER_AUTOCLEAR,
  HEADER_BACKING_FILE,
} from './spec.ts'; // prettier-ignore

/** Our extension and the mark behind it that ends them all. */
const NEEDED = EXTENSION_HEAD_BYTES + GENERATION_BYTES + EXTENSION_HEAD_BYTES;

/**
 * Writes random bytes to `at`, 0 for a place that is to be made, and then the bit that vouches for them.
 * Undefined where the header has no room. Drained and flushed. Throws BlockError.
 */
export async function storeGeneration(
  image: Qcow2Image,
  at: number,
  random: () => number,
): Promise<StoredGeneration | undefined> {
  const offset = at === 0 ? await makeRoom(image) : at;
  if (offset === 0) return undefined;
  const bytes = new Uint8Array(GENERATION_BYTES);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random() * 256;
  await put(image, offset, bytes);
  const bit = new Uint8Array(8);
  viewOf(bit).setBigUint64(0, AUTOCLEAR_GENERATION);
  await put(image, HEADER_AUTOCLEAR, bit);
  return { offset, bytes };
}

/**
 * Adds our extension behind the others. The name of the backing file may lie there: a copy of it
 * further back takes its place first. Each step leaves a good header. Answers where the bytes go,
 * 0 where they cannot.
 */
async function makeRoom(image: Qcow2Image): Promise<number> {
  const end = image.header.extensionsEnd;
  const head = new Uint8Array(Math.min(image.clusterSize, image.file.length));
  if (end === 0 || end + NEEDED > head.length) return 0;
  await must(image, image.file.preadv(0, IOVector.of(head)));
  const view = viewOf(head);
  const nameAt = Number(view.getBigUint64(HEADER_BACKING_FILE));
  if (nameAt !== 0 && nameAt < end + NEEDED) {
    const name = head.slice(nameAt, nameAt + view.getUint32(HEADER_BACKING_FILE + 8));
    const there = Math.max(roundUp8(nameAt + name.length), end + NEEDED);
    if (there + name.length > head.length) return 0;
    await put(image, there, name);
    const offset = new Uint8Array(8);
    viewOf(offset).setBigUint64(0, BigInt(there));
    await put(image, HEADER_BACKING_FILE, offset);
  }
  const at = end + EXTENSION_HEAD_BYTES;
  // What follows the mark at `end` means nothing, until that mark turns into our extension.
  await put(image, at, new Uint8Array(NEEDED - EXTENSION_HEAD_BYTES));
  const extension = new Uint8Array(EXTENSION_HEAD_BYTES);
  viewOf(extension).setUint32(0, EXT_GENERATION);
  viewOf(extension).setUint32(4, GENERATION_BYTES);
  await put(image, end, extension);
  return at;
}

/** Writes into the header, durably. */
async function put(image: Qcow2Image, offset: number, bytes: Uint8Array): Promise<void> {
  await must(image, image.writeHeader(offset, bytes));
  await must(image, image.file.flush());
}

async function must({ node }: Qcow2Image, ret: MaybeRet): Promise<void> {
  const done = await ret;
  if (done < OK) throw BlockError.fromRet(done, `${node}: cannot store its generation`, node);
}
