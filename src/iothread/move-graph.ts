// Has a graph move from one IOThread to another, with the devices on it: asks the one what would move, then has
// both do it between themselves (`graph-sender.ts`, `graph-receiver.ts`). What the other thread cannot take in is brought back.

import { transfer } from 'comlink';
import type { Remote } from 'comlink';
import { BlockError } from '../block/block-error.ts';
import type { MovedGraph } from '../block/move.ts';
import type { GraphSent, IOThreadControl, MovePlan, MovingDevices } from './control.ts';
import type { DeviceHandles } from './device-handles.ts';

let moves = 0;

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
 * was; only where it can be opened neither there nor here any more (EIO) its devices are gone. Answers
 * how long its devices stood still, nanoseconds.
 */
export async function moveGraph(
  nodeName: string,
  from: MoveSide,
  to: MoveSide,
  signal: AbortSignal | undefined,
): Promise<number> {
  const plan = await from.call((control) => control.blockdevPlanMove(nodeName), signal);
  signal?.throwIfAborted();
  // Whoever kicks does not know which of the two serves the device at that moment.
  from.devices.ringToo(to.devices.doorbell);
  try {
    const sent = await carry(nodeName, plan, from, to);
    for (const id of sent.devices) from.devices.moveTo(to.devices, id);
    return sent.pauseNs;
  } catch (error) {
    await settle(nodeName, plan.devices, from, to, error);
    throw error;
  } finally {
    from.devices.ringToo(undefined);
  }
}

/** Has the two threads do it between themselves. */
async function carry(
  nodeName: string,
  plan: MovePlan,
  from: MoveSide,
  to: MoveSide,
): Promise<GraphSent> {
  const handles = plan.devices.flatMap((id) => from.devices.get(id) ?? []);
  const devices: MovingDevices = new Map(
    handles.flatMap((handle) => {
      const { id, key, wiring, told } = handle;
      if (wiring === undefined) return [];
      const known = told.has(to.devices);
      told.set(to.devices, () => to.call((control) => control.deviceForget(key)));
      return [[id, { key, ...(known ? {} : { wiring }) }]];
    }),
  );
  const { port1, port2 } = new MessageChannel();
  const move = (moves += 1);
  const receiving = to.call((control) =>
    control.blockdevReceive(move, plan.nodes, devices, transfer(port2, [port2])),
  );
  const sending = from.call((control) =>
    control.blockdevSend(move, nodeName, transfer(port1, [port1])),
  );
  const delivering = from
    .call((control) => control.blockdevParcel(move))
    .then((moved) => moved && to.call((control) => control.blockdevDeliver(move, pass(moved))));
  // Neither waits for one that is gone, or that did not begin.
  const recall = (side: MoveSide): Promise<void> =>
    side.call((control) => control.blockdevRecall(move)).catch(() => {});
  delivering.catch(() => recall(from));
  receiving.catch(() => {
    // Perhaps it heard of none.
    for (const { told } of handles) {
      void told
        .get(to.devices)?.()
        .catch(() => {});
      told.delete(to.devices);
    }
    void recall(from);
  });
  sending.catch(() => recall(to));
  const [received] = await Promise.allSettled([receiving, sending]);
  return sending.catch((error: unknown) => {
    // One that was called off does not know why.
    const calledOff = error instanceof BlockError && error.code === 'ECANCELED';
    throw calledOff && received.status === 'rejected' ? received.reason : error;
  });
}

/** After a move that failed: finds out where the graph is. */
async function settle(
  nodeName: string,
  devices: readonly string[],
  from: MoveSide,
  to: MoveSide,
  error: unknown,
): Promise<void> {
  if (from.failed() !== undefined) {
    // Its devices are gone, and what reached the other thread before has no use there.
    for (const id of devices) await to.call((control) => control.deviceDel(id)).catch(() => {});
    await to.call((control) => control.blockdevDel(nodeName)).catch(() => {});
    return;
  }
  const isBack = await from
    .call((control) => control.blockdevPlanMove(nodeName))
    .then(
      () => true,
      () => false,
    );
  for (const id of devices) {
    if (isBack) from.devices.moveTo(from.devices, id);
    else from.devices.failOne(id, error as Error);
  }
}

/** The buffers in it are handed on. */
function pass(moved: MovedGraph): MovedGraph {
  return transfer(moved, [...moved.transfer]);
}
