// Makes a new image (blockdev-create): the protocol makes an empty file, the format writes its
// metadata into it. A `file` that names an open node is used as it is. What fails half-way is removed
// again; an image that was there before is gone then, as it is when all goes well.

import type { OptionTree } from '../base/options.ts';
import { BlockChild } from './block-child.ts';
import type { BlockDriver } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import type { BlockNode } from './block-node.ts';
import { filenameOf } from './filename.ts';
import type { Graph } from './graph.ts';
import { commonOptions, parseNodeOptions, treeOf } from './node-options.ts';
import { DEFAULT_SETTINGS } from './node-settings.ts';
import { openingParent } from './opening-parent.ts';
import { Opening } from './opening.ts';
import type { OpenGraphOptions } from './opening.ts';
import { OptionReader } from './option-reader.ts';
import { PERM_ALL, defaultPermissions, detachEdge, setPermissions } from './permissions.ts';
import { loadDriver } from './registry.ts';

type Extra = Pick<OpenGraphOptions, 'signal' | 'onNotice'>;

/**
 * Creates what `options` describe: `driver`, `size` and the driver's creation options, `file` where
 * the driver is a format. Nothing stays open. Throws BlockError.
 */
export async function createImage(
  graph: Graph,
  options: OptionTree,
  extra: Extra = {},
): Promise<void> {
  const plan = await planImage(options);
  const { driver, size } = plan;
  const context = { aioContext: graph.context, signal: extra.signal };
  if (driver.kind === 'protocol') {
    refuseOpen(graph, driver.name, plan.raw);
    await driver.create!({ ...context, file: undefined }, size, plan.raw);
    return;
  }
  const created = await createFile(graph, plan.file, extra);
  const opening = new Opening(graph, extra);
  try {
    const settings = DEFAULT_SETTINGS;
    const place = { role: 'file', readOnly: false, settings, depth: 0, above: [] } as const;
    const node = await opening.open(plan.file, place);
    await format(graph, node, (edge) => driver.create!({ ...context, file: edge }, size, plan.raw));
  } catch (error) {
    await opening.abandon();
    if (created) await removeImage(graph, options).catch(() => {});
    throw error;
  }
  await opening.abandon();
}

/**
 * Removes the file of the image that `options`, as for `createImage`, describe; one in an open node
 * stays. Throws BlockError: EBUSY while it is open, ENOENT, ENOTSUP where the driver cannot.
 */
export async function removeImage(graph: Graph, options: OptionTree): Promise<void> {
  // Where everything is being closed, its file may be half way through that.
  await graph.changes.withLock(() => {});
  const { driver, rest } = await parseDriver(treeOf(options, false), false);
  if (driver.kind !== 'protocol') {
    const { file } = rest;
    if (typeof file === 'string' && graph.find(file) !== undefined) return;
    return removeImage(graph, treeOf(file, true));
  }
  refuseOpen(graph, driver.name, rest);
  if (driver.remove === undefined) {
    throw new BlockError('ENOTSUP', `driver '${driver.name}' cannot remove images`);
  }
  await driver.remove({ aioContext: graph.context, signal: undefined }, rest);
}

/** Options that open what `createImage` made of `options`, without those that said how. */
export function optionsToOpen(options: OptionTree): OptionTree {
  const tree = treeOf(options, false);
  const { driver, rest } = parseNodeOptions(tree, false);
  const { file } = rest;
  const named = typeof file === 'string' ? file : file && withoutMaking(treeOf(file, true));
  const node = { ...commonOptions(tree), driver, 'read-only': undefined };
  return file === undefined ? { ...withoutMaking(rest), ...node } : { file: named, ...node };
}

function withoutMaking(tree: OptionTree): OptionTree {
  const rest = Object.entries(tree).filter(([key]) => key !== 'create' && key !== 'size');
  return Object.fromEntries(rest);
}

interface Plan {
  readonly driver: BlockDriver;
  /** Bytes. */
  readonly size: number;
  readonly file: unknown;
  /** Creation options. */
  readonly raw: OptionTree;
}

async function planImage(options: OptionTree): Promise<Plan> {
  const { driver, rest } = await parseDriver(treeOf(options, false), false);
  const { name } = driver;
  const size = new OptionReader(name, rest).size('size');
  if (size === undefined) throw new BlockError('EINVAL', `${name}: option 'size' is missing`);
  if (driver.create === undefined) {
    throw new BlockError('ENOTSUP', `driver '${name}' cannot create images`);
  }
  const { file } = rest;
  if (driver.kind !== 'protocol' && file === undefined) {
    throw new BlockError('EINVAL', "create: option 'file' (or 'filename') is missing");
  }
  const raw = Object.entries(rest).filter(([key]) => key !== 'size' && key !== 'file');
  return { driver, size, file, raw: Object.fromEntries(raw) };
}

async function parseDriver(
  tree: OptionTree,
  asProtocol: boolean,
): Promise<{ driver: BlockDriver; rest: OptionTree }> {
  const { driver: name, rest } = parseNodeOptions(tree, asProtocol);
  if (name === undefined) {
    const what = asProtocol ? "'file' has no 'driver'" : "option 'driver' is missing";
    throw new BlockError('EINVAL', `create: ${what}`);
  }
  return { driver: await loadDriver(name), rest };
}

/** Lets `write` write to `node` as its one user, then flushes. */
async function format(
  graph: Graph,
  node: BlockNode,
  write: (edge: BlockChild) => Promise<void>,
): Promise<void> {
  graph.refuseMoving(node);
  const edge = new BlockChild('file', node, true);
  node.quiescence.attach(edge, openingParent('the creation of an image'));
  try {
    setPermissions(edge, defaultPermissions('file', { perm: 0, shared: PERM_ALL }, true));
    await write(edge);
    const ret = await edge.flush();
    if (ret < 0) throw BlockError.fromRet(ret, `flush of the new image in '${node.filename}'`);
  } finally {
    detachEdge(edge);
  }
}

/** Makes the file that the format goes into. Answers false where `file` names an open node. */
async function createFile(graph: Graph, file: unknown, extra: Extra): Promise<boolean> {
  if (typeof file === 'string' && graph.find(file) !== undefined) return false;
  const { driver, rest } = await parseDriver(treeOf(file, true), true);
  if (driver.create === undefined) {
    throw new BlockError(
      'ENOTSUP',
      `driver '${driver.name}' cannot create a file; add it as a node first and name that node as 'file'`,
    );
  }
  refuseOpen(graph, driver.name, rest);
  const context = { aioContext: graph.context, signal: extra.signal, file: undefined };
  await driver.create(context, 0, rest);
  return true;
}

/** Making an image where one is open would pull the ground from under whoever uses it. */
function refuseOpen(graph: Graph, driver: string, options: OptionTree): void {
  const filename = filenameOf(driver, options);
  const node = graph.nodes.find((open) => open.kind === 'protocol' && open.filename === filename);
  if (node === undefined) return;
  throw new BlockError('EBUSY', `'${filename}' is open as node '${node.name}': close it first`, {
    node: node.name,
  });
}
