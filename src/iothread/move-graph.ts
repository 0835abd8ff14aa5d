// Carries a graph from one IOThread to another, with the devices on it: plan and prepare while all of
// it runs, then detach and attach. What the other thread cannot take in is brought back.

import { transfer } from 'comlink';
import type { Remote } from 'comlink';
import { BlockError } from '../block/block-error.ts';
import type { MovedGraph } from '../block/move.ts';
import type { IOThreadControl } from './control.ts';
import type { DeviceHandles } from './device-handles.ts';

/** One of the two threads. */
export interface MoveSide {
  readonly id: string;
  /** Why the thread is gone, if it is by now. */
  failed(): Error | undefined;
  readonly devices: DeviceHandles;
  /** A control call; rejects when the thread is gone or `signal` aborts. */
  call<T>(
    start: (control: Remote<IOThreadControl>) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T>;
}

/**
 * Moves the graph that `nodeName` is part of. Throws BlockError, and then all of it works on where it
 * was; only where it can be opened neither there nor here any more (EIO) its devices are gone.
 * `onPause` is called when devices are about to stand still.
 */
export async function moveGraph(
  nodeName: string,
  from: MoveSide,
  to: MoveSide,
  onPause: () => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const nodes = await from.call((control) => control.blockdevPlanMove(nodeName), signal);
  await to.call((control) => control.blockdevPrepareAttach(nodes), signal);
  signal?.throwIfAborted();
  onPause();
  const moved = await from.call((control) => control.blockdevDetach(nodeName));
  try {
    await attach(to, moved);
  } catch (error) {
    await bringBack(moved, from, to, error);
    throw error;
  }
  for (const { name } of moved.backends) from.devices.moveTo(to.devices, name);
}

function attach(side: MoveSide, moved: MovedGraph): Promise<void> {
  return side.call((control) =>
    control.blockdevAttach(transfer<MovedGraph>(moved, [...moved.transfer])),
  );
}

/** Attaches at `from` again what `to` could not take in. */
async function bringBack(
  moved: MovedGraph,
  from: MoveSide,
  to: MoveSide,
  why: unknown,
): Promise<void> {
  try {
    const back =
      to.failed() === undefined ? await to.call((control) => control.blockdevTakeBack()) : moved;
    await attach(from, back);
  } catch (cause) {
    const names = moved.nodes.map((node) => `'${node.nodeName}'`).join(', ');
    const error = new BlockError(
      'EIO',
      `${names} could be opened neither on '${to.id}' (${String(why)}) ` +
        `nor on '${from.id}' again (${String(cause)})`,
      { cause },
    );
    for (const { name } of moved.backends) from.devices.failOne(name, error);
    throw error;
  }
  for (const { name } of moved.backends) from.devices.moveTo(from.devices, name);
}
