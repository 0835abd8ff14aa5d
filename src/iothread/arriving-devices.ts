// The devices that move to this thread, as far as they are in shared memory: what they are made of comes once, by
// way of the page, and stays until the page says that a device is gone. Loaded for moves.

import { isShared } from '../base/shared-buffer.ts';
import type { BlockBackend } from '../block/block-backend.ts';
import type { MovingDevices } from './control.ts';
import type { DeviceTable, DeviceWiring, MovedDevice } from './device-table.ts';
import type { MovedPortDevice } from './port-devices.ts';

/** What devices are made of, by the names of their backends. */
export type Wiring = ReadonlyMap<string, DeviceWiring | undefined>;

export class ArrivingDevices {
  readonly #table: DeviceTable;
  /** By the devices' keys. */
  readonly #known = new Map<number, DeviceWiring>();

  constructor(table: DeviceTable) {
    this.#table = table;
  }

  /** Loads what `adopt` needs, and makes the code of the queues ready. */
  async prepare(devices: MovingDevices): Promise<Wiring> {
    for (const { key, wiring } of devices.values()) {
      if (wiring !== undefined) this.#known.set(key, wiring);
    }
    const wirings = new Map([...devices].map(([id, { key }]) => [id, this.#known.get(key)!]));
    if (!isShared(this.#table.doorbell.buffer)) await this.#table.portDevices();
    for (const { options } of wirings.values()) {
      await this.#table.loadCode(options);
      this.#table.queueModules(options);
    }
    return wirings;
  }

  /** Makes a device again that another thread served so far, on `backend`. */
  async adopt(
    backend: BlockBackend,
    moved: MovedDevice | MovedPortDevice,
    wiring: Wiring,
  ): Promise<void> {
    if ('port' in moved) {
      (await this.#table.portDevices()).plug(backend, moved);
      return;
    }
    const parts = wiring.get(backend.name)!;
    await this.#table.loadCode(parts.options);
    this.#table.plug(backend, parts, moved.resumeAt);
  }

  /** That device is gone for good. */
  forget(key: number): void {
    this.#known.delete(key);
  }
}
