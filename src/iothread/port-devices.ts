// The virtio-blk devices whose driver sends messages, as far as they differ from others: their memory is
// ours, and a relay plays the guest's part in it. Loaded where pages are not cross-origin isolated.

import type { AioContext } from '../aio/aio-context.ts';
import type { BlockBackend, TakenAway } from '../block/block-backend.ts';
import { BlockError } from '../block/block-error.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { SPLIT_UNSHARED } from '../virtio/split-unshared-code.ts';
import type { VirtioBlk } from '../virtio/virtio-blk.ts';
import { VQ_BAD_MESSAGE } from '../virtio/virtqueue.ts';
import type { QueueCode } from '../virtio/wasm-module.ts';
import type { DeviceOptions, PortDeviceOptions } from './control.ts';
import type { DeviceState } from './device-messages.ts';
import { MessageRelay } from './message-relay.ts';

/** Slots of a device that is reached by messages, and pages of 64 KiB for their data. */
const MAX_PORT_QUEUE = 1024;
const MAX_PORT_PAGES = 1024;
const MIN_PORT_PAGES = 16;

/** A device on its way to another thread: its rings stay behind. */
export interface MovedPortDevice {
  readonly options: PortDeviceOptions;
  readonly port: MessagePort;
  /** What the relay there takes before anything from the port. */
  readonly waiting: readonly unknown[];
  readonly broken: number;
  readonly lastErrno: number;
}

/** What all devices have in common: the DeviceTable's part. */
export interface DeviceParts {
  readonly context: AioContext;
  readonly doorbell: Int32Array;
  newBackend(options: PortDeviceOptions): BlockBackend;
  newDevice(
    backend: BlockBackend,
    options: DeviceOptions,
    channel: TransportChannel,
    sendCall: () => void,
    more: { readonly code: QueueCode },
  ): VirtioBlk;
  setUser(backend: BlockBackend, device: VirtioBlk, takeAway: () => TakenAway): void;
}

export class PortDevices {
  readonly #parts: DeviceParts;
  readonly #relays = new Map<string, MessageRelay>();

  constructor(parts: DeviceParts) {
    this.#parts = parts;
  }

  /** Adds a device for the MessageDriver at the other end of `port`. Throws BlockError. */
  add(options: PortDeviceOptions, port: MessagePort): DeviceState {
    checkPool(options);
    const moved = { options, port, waiting: [], broken: 0, lastErrno: 0 };
    return this.plug(this.#parts.newBackend(options), moved);
  }

  /** Makes the device, or makes it again after a move, on `backend`. */
  plug(backend: BlockBackend, moved: MovedPortDevice): DeviceState {
    const { context, doorbell } = this.#parts;
    const { options, port } = moved;
    const { id, drive, queueSize, poolPages, serial = id } = options;
    const { memory, layout } = MessageRelay.memory(queueSize, poolPages);
    const { ramBytes } = layout;
    const place = { memory, ramBase: 0, ramBytes, scratch: ramBytes, numQueues: 1 };
    const channel = TransportChannel.local(1);
    channel.setLastErrno(moved.lastErrno);
    if (moved.broken !== 0) channel.break(moved.broken);
    const parts = { id, drive, serial, ...place };
    const device = this.#parts.newDevice(backend, parts, channel, () => relay.call(), {
      code: SPLIT_UNSHARED,
    });
    const relay = new MessageRelay({
      context,
      port,
      channel,
      doorbell,
      memory,
      layout,
      onMalformed: () => device.break(VQ_BAD_MESSAGE),
    });
    this.#relays.set(id, relay);
    for (const message of moved.waiting) relay.take(message);
    this.#parts.setUser(backend, device, () => {
      device.leave();
      this.#relays.delete(id);
      const { broken, lastErrno } = channel;
      const user: MovedPortDevice = { options, port, waiting: relay.leave(), broken, lastErrno };
      return { user, transfer: [port] };
    });
    return relay.state;
  }

  /** The device is gone: its port with it. Nothing for one that shares memory. */
  del(id: string): void {
    this.#relays.get(id)?.close();
    this.#relays.delete(id);
  }
}

/** A device that is reached by messages brings its memory along: of a size that makes sense. */
function checkPool({ queueSize, poolPages }: PortDeviceOptions): void {
  const size = queueSize >= 1 && queueSize <= MAX_PORT_QUEUE && (queueSize & (queueSize - 1)) === 0;
  const pages = poolPages >= MIN_PORT_PAGES && poolPages <= MAX_PORT_PAGES && poolPages % 1 === 0;
  if (size && pages) return;
  throw new BlockError(
    'EINVAL',
    `portDeviceAdd: queueSize ${queueSize} is a power of two up to ${MAX_PORT_QUEUE}, ` +
      `poolPages ${poolPages} is ${MIN_PORT_PAGES} to ${MAX_PORT_PAGES}`,
  );
}
