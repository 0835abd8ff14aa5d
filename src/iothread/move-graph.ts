// Has a graph move from one IOThread to another, with the devices on it: plan and prepare while all of it
// runs, then the threads do the rest between themselves (`graph-courier.ts`). What the other thread cannot
// take in is brought back.

import { transfer } from 'comlink';
import type { Remote } from 'comlink';
import type { GraphSent, IOThreadControl } from './control.ts';
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
  const { nodes, devices } = await from.call(
    (control) => control.blockdevPlanMove(nodeName),
    signal,
  );
  await to.call((control) => control.blockdevPrepareAttach(nodes), signal);
  signal?.throwIfAborted();
  // Whoever kicks does not know which of the two serves the device at that moment.
  from.devices.ringToo(to.devices.doorbell);
  try {
    const sent = await carry(nodeName, from, to);
    for (const id of sent.devices) from.devices.moveTo(to.devices, id);
    return sent.pauseNs;
  } catch (error) {
    await settle(nodeName, devices, from, to, error);
    throw error;
  } finally {
    from.devices.ringToo(undefined);
  }
}

/** Has the two threads do it between themselves. */
async function carry(nodeName: string, from: MoveSide, to: MoveSide): Promise<GraphSent> {
  const { port1, port2 } = new MessageChannel();
  const move = (moves += 1);
  const receiving = to.call((control) => control.blockdevReceive(move, transfer(port2, [port2])));
  const sending = from.call((control) =>
    control.blockdevSend(move, nodeName, transfer(port1, [port1])),
  );
  // Neither waits for one that is gone, or that did not begin.
  const recall = (side: MoveSide): Promise<void> =>
    side.call((control) => control.blockdevRecall(move)).catch(() => {});
  receiving.catch(() => (to.failed() === undefined ? undefined : recall(from)));
  sending.catch(() => recall(to));
  await Promise.allSettled([receiving, sending]);
  return sending;
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
