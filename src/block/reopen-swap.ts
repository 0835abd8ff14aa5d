// Takes the place of what drivers have open by what they open anew, over several nodes: all of it or, when
// one fails, none. Few hosts let one image be open twice, so the old opening ends before the new one
// begins, parents before children, and is made again where that fails. The nodes stay; they are drained.

import type { OptionTree } from '../base/options.ts';
import { AbsentState } from './absent-state.ts';
import { BlockChild } from './block-child.ts';
import type { ChildRole } from './block-child.ts';
import type { BlockDriver, Leaving, OpenContext } from './block-driver.ts';
import { BlockError } from './block-error.ts';
import type { BlockNode } from './block-node.ts';
import type { Graph } from './graph.ts';
import { openFlags } from './node-settings.ts';
import type { NodeSettings } from './node-settings.ts';
import { headGuard } from './probe.ts';

/** How a node is opened. */
export interface Opened {
  /** The driver's own. */
  readonly options: OptionTree;
  readonly readOnly: boolean;
  readonly settings: NodeSettings;
  /** Attached to their nodes. */
  readonly children: readonly BlockChild[];
}

/** A node that is opened anew. */
export interface Swap {
  readonly node: BlockNode;
  readonly driver: BlockDriver;
  readonly before: Opened;
  readonly after: Opened;
  /** The image is the same as before, so that what the driver knows of it goes along. */
  readonly sameImage: boolean;
}

export type OnNotice = ((nodeName: string, message: string) => void) | undefined;

/**
 * Opens `swaps`, parents before children, in their new way. Throws BlockError, and all of it is then open as
 * before; where that fails as well the node answers -EIO, and the message says so.
 */
export async function swapStates(
  graph: Graph,
  swaps: readonly Swap[],
  onNotice: OnNotice,
): Promise<void> {
  const childrenFirst = [...swaps].reverse();
  const left = new LeftLocks();
  const done: Swap[] = [];
  try {
    for (const swap of swaps) await left.close(swap);
    for (const swap of childrenFirst) {
      await openState(graph, swap, swap.after, onNotice, left.of(swap.node));
      done.push(swap);
    }
  } catch (error) {
    for (const swap of done.reverse()) await left.close(swap);
    const lost: string[] = [];
    for (const swap of childrenFirst) {
      const { node, before } = swap;
      const same = { ...swap, sameImage: true };
      await openState(graph, same, before, onNotice, left.of(node)).catch((cause: unknown) =>
        lost.push(`${node.label} is lost (${String(cause)})`),
      );
    }
    if (lost.length === 0) throw error;
    const message = `${String(error)}; and then ${lost.join(', ')}: requests there fail with EIO`;
    throw new BlockError('EIO', message, { cause: error });
  } finally {
    left.over();
  }
}

/** What keeps others out of images between two openings, where both want the same of them. */
class LeftLocks {
  readonly #leaving: [node: BlockNode, leaving: Leaving][] = [];

  async close({ node, before, after, sameImage }: Swap): Promise<void> {
    const stays = sameImage && before.readOnly === after.readOnly;
    const leaving = stays ? node.state.leave?.() : undefined;
    if (leaving !== undefined) this.#leaving.push([node, leaving]);
    await closeState(node);
  }

  /** Whether an opening takes over what was left of `node`. */
  of(node: BlockNode): boolean {
    return this.#leaving.some(([which]) => which === node);
  }

  over(): void {
    for (const [{ state }, leaving] of this.#leaving) leaving(!(state instanceof AbsentState));
  }
}

/** Closes the image; the node is there, and absent. What the driver knows of it is kept in its stead. */
export async function closeState(node: BlockNode, inactive = false): Promise<void> {
  const { state, children, readOnly, options } = node;
  const known = state instanceof AbsentState ? state.carried : state.carry?.().data;
  node.become({ state: new AbsentState(state, inactive, known), children, readOnly, options });
  await state.close();
}

/** Opens the image of a node that is absent. Throws BlockError, and the node stays so. */
export async function openState(
  graph: Graph,
  { node, driver, sameImage }: Pick<Swap, 'node' | 'driver' | 'sameImage'>,
  how: Opened,
  onNotice: OnNotice,
  takesOver = false,
): Promise<void> {
  const left = [...how.children];
  const next = async (role: ChildRole): Promise<BlockChild> => {
    const at = left.findIndex((edge) => edge.role === role);
    if (at >= 0) return left.splice(at, 1)[0]!;
    const message = `${node.label} has no '${role}': say which node it is`;
    throw new BlockError('EINVAL', message, { node: node.name });
  };
  const { readOnly, settings, options, children } = how;
  const context: OpenContext = {
    nodeName: node.name,
    aioContext: graph.context,
    flags: openFlags(readOnly, settings),
    signal: undefined,
    headGuard: node.guessed ? await headGuard() : undefined,
    carried: sameImage && node.state instanceof AbsentState ? node.state.carried : undefined,
    takesOver,
    notice: (message) => onNotice?.(node.name, message),
    openChild: next,
    openNamedInImage: next,
  };
  try {
    const state = await driver.open(context, driver.parseOptions(options));
    node.become({ state, children, readOnly, options });
  } catch (cause) {
    const code = cause instanceof BlockError ? cause.code : 'EIO';
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new BlockError(code, `${node.label} cannot be reopened: ${why}`, {
      node: node.name,
      cause,
    });
  }
}
