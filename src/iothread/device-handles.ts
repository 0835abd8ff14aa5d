// The page's ends of the devices that one IOThread serves, by id. A device that moves to another
// thread takes its handle along: whoever holds it notices nothing.

import type { TransportChannel } from '../virtio/transport-channel.ts';
import { DeviceHandle } from './device-handle.ts';
import type { DeviceWiring } from './device-table.ts';

export class DeviceHandles {
  /** What the thread sleeps on; undefined where requests are messages. */
  readonly doorbell: Int32Array | undefined;
  readonly #remove: (id: string) => Promise<void>;
  readonly #handles = new Map<string, DeviceHandle>();
  #failed: Error | undefined;

  /** `remove` asks the thread to take a device away. */
  constructor(doorbell: Int32Array | undefined, remove: (id: string) => Promise<void>) {
    this.doorbell = doorbell;
    this.#remove = remove;
  }

  add(id: string, channel: TransportChannel, wiring?: DeviceWiring): DeviceHandle {
    const handle = new DeviceHandle(id, channel, this.doorbell, () => this.#remove(id), wiring);
    this.put(handle);
    return handle;
  }
  get(id: string): DeviceHandle | undefined {
    return this.#handles.get(id);
  }
  delete(id: string): void {
    this.#handles.delete(id);
  }

  /** The device called, and its transport cannot wait on shared memory. */
  called(id: string): void {
    this.#handles.get(id)?.called();
  }

  /** The thread is gone, and so are its devices, those that come yet included. */
  fail(error: Error): void {
    this.#failed = error;
    for (const handle of this.#handles.values()) handle.fail(error);
  }
  /** One device is gone. */
  failOne(id: string, error: Error): void {
    this.#handles.get(id)?.fail(error);
  }

  /** Kicks ring `doorbell` as well: a device is on its way there, perhaps. */
  ringToo(doorbell: Int32Array | undefined): void {
    for (const handle of this.#handles.values()) handle.ringToo = doorbell;
  }

  /** Device `id` is served by the thread of `target` from now on: this one again, perhaps. */
  moveTo(target: DeviceHandles, id: string): void {
    const handle = this.#handles.get(id);
    if (handle === undefined) return;
    this.#handles.delete(id);
    handle.moved(target.doorbell, () => target.#remove(id));
    target.put(handle);
  }

  /** Another thread's handle may be here as well: a device of several threads. */
  put(handle: DeviceHandle): void {
    this.#handles.set(handle.id, handle);
    if (this.#failed !== undefined) handle.fail(this.#failed);
  }
}
