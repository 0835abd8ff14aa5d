// Makes raw images: a file of a certain length that holds nothing.

import type { BlockDriver } from '../block-driver.ts';
import { BlockError } from '../block-error.ts';
import { OptionReader } from '../option-reader.ts';

/** See `BlockDriver.create`. */
export const create: NonNullable<BlockDriver['create']> = async (context, size, raw) => {
  new OptionReader('raw', raw).end();
  // What a file held before would show.
  const emptied = await context.file!.truncate(0);
  const ret = emptied < 0 ? emptied : await context.file!.truncate(size);
  if (ret < 0) throw BlockError.fromRet(ret, `raw: cannot make the file ${size} bytes long`);
};
