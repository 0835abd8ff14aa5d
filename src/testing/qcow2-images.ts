// Opens and makes qcow2 images over any protocol state, without the registry: a graph of two or
// three nodes for the tests of the format.

import { IOVector } from '../base/io-vector.ts';
import type { Ret } from '../base/ret.ts';
import { BlockChild } from '../block/block-child.ts';
import type { ChildRole } from '../block/block-child.ts';
import type { DriverState, OpenContext } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import { BlockNode } from '../block/block-node.ts';
import { driver } from '../block/formats/qcow2/qcow2.ts';
import { testContext } from './test-context.ts';

const context = testContext();

/** An open image, the node below it and what it told people. */
export interface OpenQcow2 {
  readonly node: BlockNode;
  readonly state: DriverState;
  readonly file: BlockNode;
  readonly notices: string[];
}

/** How to open it. */
export interface OpenQcow2Options {
  readonly readOnly?: boolean;
  readonly backing?: BlockNode | undefined;
  /** Driver options, as a user gives them. */
  readonly options?: Record<string, unknown>;
}

/** A protocol node over `state`. */
export function protocolNode(state: DriverState, readOnly = false, name = 'file'): BlockNode {
  return new BlockNode({
    name, driver: 'test', kind: 'protocol', context, state, children: [], readOnly,
  }); // prettier-ignore
}

/** Opens the image in `state`. Throws BlockError. */
export async function openQcow2(
  state: DriverState,
  { readOnly = false, backing, options = {} }: OpenQcow2Options = {},
): Promise<OpenQcow2> {
  const file = protocolNode(state, readOnly);
  const notices: string[] = [];
  const children: BlockChild[] = [];
  const child = (role: ChildRole): BlockChild => {
    if (role === 'backing' && backing === undefined) {
      throw new BlockError('EACCES', 'this test follows no backing file');
    }
    const made =
      role === 'backing'
        ? new BlockChild(role, backing!, false)
        : new BlockChild(role, file, !readOnly);
    children.push(made);
    return made;
  };
  const openContext: OpenContext = {
    nodeName: 'disk',
    aioContext: context,
    flags: { readOnly },
    signal: undefined,
    notice: (message) => void notices.push(message),
    openChild: async (role) => child(role),
    openNamedInImage: async (role) => child(role),
  };
  const opened = await driver.open(openContext, driver.parseOptions({ file: {}, ...options }));
  const node = new BlockNode({
    name: 'disk', driver: 'qcow2', kind: 'format', context, state: opened, children, readOnly,
  }); // prettier-ignore
  return { node, state: opened, file, notices };
}

/** Makes a new image of `size` bytes in `state`. Throws BlockError. */
export async function createQcow2(
  state: DriverState,
  size: number,
  options: Record<string, unknown> = {},
): Promise<void> {
  const file = new BlockChild('file', protocolNode(state), true);
  await driver.create!({ aioContext: context, signal: undefined, file }, size, options);
}

/** Reads `bytes` at `offset`; throws on an error. */
export async function read(node: BlockNode, offset: number, bytes: number): Promise<Uint8Array> {
  const target = new Uint8Array(bytes).fill(0xee);
  const ret = await node.preadv(offset, IOVector.of(target), 0);
  if (ret < 0) throw new Error(`read of ${bytes} at ${offset}: ${ret}`);
  return target;
}

/** Writes `bytes` at `offset`. */
export async function write(node: BlockNode, offset: number, bytes: Uint8Array): Promise<Ret> {
  return node.pwritev(offset, IOVector.of(bytes), 0);
}
