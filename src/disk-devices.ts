// The devices of a disk. Of those that several IOThreads serve it has to know more: what changes the disk stops
// all of their threads, and what happens on any of them is told.

import { BlockError } from './block/block-error.ts';
import type { Disk } from './disk.ts';
import type { AttachOptions, RequestOptions } from './disk-options.ts';
import type { IOThreadEvent } from './iothread/control.ts';
import type { DeviceHandle } from './iothread/device-handle.ts';
import type { IOThread } from './iothread/iothread.ts';
import type { MappedDevice } from './iothread/vq-mapping.ts';

export class DiskDevices {
  readonly #onEvent: ((event: IOThreadEvent) => void) | undefined;
  #added = 0;
  #mapped: { readonly device: MappedDevice; readonly deaf: () => void }[] = [];

  constructor(onEvent: ((event: IOThreadEvent) => void) | undefined) {
    this.#onEvent = onEvent;
  }

  /** Adds a device to a disk of `thread`. */
  async add(
    thread: IOThread,
    { rootNode: drive, serial, readOnly }: Pick<Disk, 'rootNode' | 'serial' | 'readOnly'>,
    { iothreadVqMapping: mapping, ...rest }: AttachOptions,
  ): Promise<DeviceHandle> {
    this.#added += 1;
    const id = `${drive}:device${this.#added}`;
    const options = { id, drive, serial, readOnly, ...rest };
    if (mapping === undefined) return thread.deviceAdd(options);
    const device = await thread.deviceAddMapped(options, mapping);
    const listener = this.#onEvent;
    const stops =
      listener === undefined
        ? []
        : mapping.slice(1).map(({ iothread }) => iothread.onEvent(listener));
    this.#mapped.push({ device, deaf: () => stops.forEach((stop) => stop()) });
    return device.handle;
  }

  /** Changes the length of the disk `drive` of `thread`. Throws BlockError. */
  async resize(
    thread: IOThread,
    drive: string,
    length: number,
    { signal }: RequestOptions,
  ): Promise<void> {
    this.#forget(({ device }) => device.removed);
    if (this.#mapped.length > 1) {
      const message = `'${drive}' has ${this.#mapped.length} devices with an iothreadVqMapping: take all but one away to resize it`;
      throw new BlockError('ENOTSUP', message, { node: drive });
    }
    if (this.#mapped.length === 0) await thread.blockResize(drive, length, signal);
    else await this.#mapped[0]!.device.resize(length);
  }

  /** Listens to no thread any more. */
  close(): void {
    this.#forget(() => true);
  }

  #forget(which: (mapped: { readonly device: MappedDevice }) => boolean): void {
    for (const mapped of this.#mapped) if (which(mapped)) mapped.deaf();
    this.#mapped = this.#mapped.filter((mapped) => !which(mapped));
  }
}
