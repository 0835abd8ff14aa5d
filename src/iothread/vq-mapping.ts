// Several queues of one device on several IOThreads (QEMU's iothread-vq-mapping). The first thread of the
// mapping has the disk's graph and tells the driver of its size; each other one opens the same
// image once more, where its nodes allow that, and serves queues of its own from there.

import { BlockError } from '../block/block-error.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import type { DeviceOptions } from './control.ts';
import { DeviceHandle } from './device-handle.ts';
import type { MoveSide } from './move-graph.ts';

/** One thread of a mapping. */
export interface VqMapping<Thread> {
  /** The thread. */
  readonly iothread: Thread;
  /** Queues that it serves; given by all entries or by none. By none, queue i is entry i mod n's. */
  readonly vqs?: readonly number[];
}

/** Throws BlockError('EINVAL') unless each queue is some one thread's. Answers the queues of each entry. */
export function checkVqMapping(
  mapping: readonly VqMapping<unknown>[],
  numQueues: number,
): readonly (readonly number[])[] {
  const bad = (why: string): BlockError => new BlockError('EINVAL', `iothreadVqMapping: ${why}`);
  if (mapping.length === 0) throw bad('it names no IOThread');
  if (new Set(mapping.map(({ iothread }) => iothread)).size < mapping.length) {
    throw bad('an IOThread is named twice: put all its queues into one entry');
  }
  if (mapping.length > numQueues) {
    throw bad(`${mapping.length} IOThreads for ${numQueues} queues: raise numQueues`);
  }
  const given = mapping.filter(({ vqs }) => vqs !== undefined).length;
  if (given === 0) {
    const all = Array.from({ length: numQueues }, (_, q) => q);
    return mapping.map((_, i) => all.filter((q) => q % mapping.length === i));
  }
  if (given < mapping.length) throw bad("'vqs' is to be given by every entry, or by none");
  const seen = new Set<number>();
  for (const vq of mapping.flatMap(({ vqs }) => vqs!)) {
    if (!(Number.isInteger(vq) && vq >= 0 && vq < numQueues)) {
      throw bad(`there is no queue ${vq}: they are 0 to ${numQueues - 1}`);
    }
    if (seen.has(vq)) throw bad(`queue ${vq} is mapped twice`);
    seen.add(vq);
  }
  if (seen.size < numQueues) {
    const missing = Array.from({ length: numQueues }, (_, q) => q).find((q) => !seen.has(q));
    throw bad(`queue ${missing} is mapped to no IOThread`);
  }
  return mapping.map(({ vqs }) => vqs!);
}

/** A device whose queues several IOThreads serve. */
export class MappedDevice {
  readonly handle: DeviceHandle;
  /** It was taken away. */
  removed = false;
  readonly #drive: string;
  readonly #sides: readonly MoveSide[];

  /** `sides[i]` serves the queues `vqs[i]`; the first one has the disk. Throws BlockError. */
  static async add(
    options: DeviceOptions,
    sides: readonly MoveSide[],
    vqs: readonly (readonly number[])[],
  ): Promise<MappedDevice> {
    const { id, drive, numQueues } = options;
    const [home, ...others] = sides as readonly [MoveSide, ...MoveSide[]];
    const undo: (() => Promise<void>)[] = [];
    try {
      const shared = await home.call((control) => control.blockdevShare(drive));
      const { channel } = await home.call((control) =>
        control.deviceAdd({ ...options, vqs: vqs[0]! }),
      );
      undo.push(() => home.call((control) => control.deviceDel(id)));
      for (const [i, side] of others.entries()) {
        await side.call((control) => control.blockdevAttach(shared));
        undo.push(() => side.call((control) => control.blockdevDel(drive)));
        await side.call((control) => control.deviceAdd({ ...options, vqs: vqs[i + 1]!, channel }));
        undo.push(() => side.call((control) => control.deviceDel(id)));
      }
      return new MappedDevice(options, sides, vqs, new TransportChannel(channel, numQueues));
    } catch (error) {
      for (const step of undo.reverse()) await step().catch(() => {});
      throw error;
    }
  }

  private constructor(
    { id, drive, numQueues }: DeviceOptions,
    sides: readonly MoveSide[],
    vqs: readonly (readonly number[])[],
    channel: TransportChannel,
  ) {
    this.#drive = drive;
    this.#sides = sides;
    const doorbells = Array.from(
      { length: numQueues },
      (_, q) => sides[vqs.findIndex((queues) => queues.includes(q))]!.devices.doorbell!,
    );
    this.handle = new DeviceHandle(id, channel, doorbells, () => this.#remove());
    // Whichever thread is gone takes the device with it.
    for (const side of sides) side.devices.put(this.handle);
  }

  /** Changes the disk's length while no thread serves a request. Throws BlockError. */
  async resize(length: number): Promise<void> {
    const { id } = this.handle;
    const [home, ...others] = this.#sides as readonly [MoveSide, ...MoveSide[]];
    try {
      await Promise.all(this.#sides.map((side) => side.call((to) => to.devicePause(id))));
      // The disk's own thread first: what it refuses, nobody does.
      await home.call((to) => to.blockResize(this.#drive, length));
      for (const side of others) await side.call((to) => to.blockResize(this.#drive, length));
    } finally {
      await Promise.all(this.#sides.map((side) => side.call((to) => to.deviceResume(id))));
    }
  }

  async #remove(): Promise<void> {
    const { id } = this.handle;
    this.removed = true;
    // The disk's own thread last: the others only look in.
    for (const [i, side] of [...this.#sides.entries()].reverse()) {
      side.devices.delete(id);
      if (side.failed() !== undefined) continue;
      await side.call((control) => control.deviceDel(id));
      if (i > 0) await side.call((control) => control.blockdevDel(this.#drive));
    }
  }
}
