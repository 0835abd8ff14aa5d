// Makes a new image (blockdev-create): the protocol makes an empty file, the format writes its
// metadata into it. A `file` that names an open node is used as it is.

import type { OptionTree } from '../base/options.ts';
import { BlockChild } from './block-child.ts';
import { BlockError } from './block-error.ts';
import type { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';
import { parseNodeOptions, treeOf } from './node-options.ts';
import { openingParent } from './opening-parent.ts';
import { Opening } from './opening.ts';
import type { OpenGraphOptions } from './opening.ts';
import { OptionReader } from './option-reader.ts';
import { loadDriver } from './registry.ts';

/**
 * Creates what `options` describe: `driver`, `size` and the driver's creation options, `file` where
 * the driver is a format. Nothing stays open. Throws BlockError.
 */
export async function createImage(
  graph: Graph,
  options: OptionTree,
  extra: Pick<OpenGraphOptions, 'signal' | 'onNotice'> = {},
): Promise<void> {
  const { driver: name, rest } = parseNodeOptions(treeOf(options, false), false);
  if (name === undefined) throw new BlockError('EINVAL', "create: option 'driver' is missing");
  const size = new OptionReader(name, rest).size('size');
  if (size === undefined) throw new BlockError('EINVAL', `${name}: option 'size' is missing`);
  const { file } = rest;
  const raw = Object.fromEntries(
    Object.entries(rest).filter(([key]) => key !== 'size' && key !== 'file'),
  );
  const driver = await loadDriver(name);
  if (driver.create === undefined) {
    throw new BlockError('ENOTSUP', `driver '${name}' cannot create images`);
  }
  const context = { aioContext: graph.context, signal: extra.signal };
  if (driver.kind === 'protocol') {
    await driver.create({ ...context, file: undefined }, size, raw);
    return;
  }
  const opening = new Opening(graph, extra);
  try {
    await createFile(graph, file, extra);
    const node = await opening.open(file, { role: 'file', readOnly: false, depth: 0, above: [] });
    await format(graph, node, (edge) => driver.create!({ ...context, file: edge }, size, raw));
  } finally {
    await opening.abandon();
  }
}

/** Lets `write` write to `node` as its one user, then flushes. */
async function format(
  graph: Graph,
  node: BlockNode,
  write: (edge: BlockChild) => Promise<void>,
): Promise<void> {
  graph.checkSharing(node, 'file', true);
  const edge = new BlockChild('file', node, true);
  node.quiescence.attach(edge, openingParent('the creation of an image'));
  try {
    await write(edge);
    const ret = await edge.flush();
    if (ret < 0) throw BlockError.fromRet(ret, `flush of the new image in '${node.filename}'`);
  } finally {
    node.quiescence.detach(edge);
  }
}

/** Makes the file that the format goes into, unless `file` names an open node. */
async function createFile(
  graph: Graph,
  file: unknown,
  extra: Pick<OpenGraphOptions, 'signal' | 'onNotice'>,
): Promise<void> {
  if (file === undefined) {
    throw new BlockError('EINVAL', "create: option 'file' (or 'filename') is missing");
  }
  if (typeof file === 'string' && graph.find(file) !== undefined) return;
  const { driver: name, rest } = parseNodeOptions(treeOf(file, true), true);
  if (name === undefined) throw new BlockError('EINVAL', "create: 'file' has no 'driver'");
  const driver = await loadDriver(name);
  if (driver.create === undefined) {
    throw new BlockError(
      'ENOTSUP',
      `driver '${name}' cannot create a file; add it as a node first and name that node as 'file'`,
    );
  }
  await driver.create(
    { aioContext: graph.context, signal: extra.signal, file: undefined },
    0,
    rest,
  );
}
