// The virtio-blk devices that an IOThread serves, by id. Two kinds differ in where their driver is: one
// shares its memory with us; the other sends messages (`port-devices.ts`).

import type { AioContext } from '../aio/aio-context.ts';
import { errorCode } from '../base/ret.ts';
import type { BlockBackend, TakenAway } from '../block/block-backend.ts';
import { BlockError } from '../block/block-error.ts';
import type { Graph } from '../block/graph.ts';
import { DeviceChannel } from '../virtio/device-channel.ts';
import { VirtioBlk } from '../virtio/virtio-blk.ts';
import type { IOErrorReport, RingPositions } from '../virtio/virtio-blk.ts';
import { instantiateQueueModule } from '../virtio/wasm-module.ts';
import type { QueueCode, QueueModule } from '../virtio/wasm-module.ts';
import { QUEUE_SCRATCH_BYTES, WasmQueue } from '../virtio/wasm-queue.ts';
import type {
  DeviceOptions,
  DeviceSetup,
  DeviceStats,
  IOThreadEvent,
  PortDeviceOptions,
  WorkerMessage,
} from './control.ts';
import type { DeviceState } from './device-messages.ts';
import type { PortDevices } from './port-devices.ts';

/** A device on its way to another thread, which knows its rest: the rings stay where they are. */
export interface MovedDevice {
  readonly resumeAt: RingPositions | undefined;
}

/** What it is made of, for a thread that it is about to move to. */
export interface DeviceWiring {
  readonly options: DeviceOptions;
  readonly channel: SharedArrayBuffer;
}

export class DeviceTable {
  readonly #context: AioContext;
  readonly doorbell: Int32Array;
  readonly #graph: Graph;
  readonly #post: (message: WorkerMessage) => void;
  readonly #devices = new Map<string, VirtioBlk>();
  #packedCode: QueueCode | undefined;
  /** The devices that are reached by messages, as far as they differ. */
  #ports: PortDevices | undefined;

  constructor(
    context: AioContext,
    doorbell: Int32Array,
    graph: Graph,
    post: (message: WorkerMessage) => void,
  ) {
    this.#context = context;
    this.doorbell = doorbell;
    this.#graph = graph;
    this.#post = post;
  }

  /** Throws BlockError('ENOENT'). */
  get(id: string): VirtioBlk {
    const device = this.#devices.get(id);
    if (device === undefined) throw new BlockError('ENOENT', `there is no device '${id}'`);
    return device;
  }
  get ids(): readonly string[] {
    return [...this.#devices.keys()];
  }
  stats(): readonly DeviceStats[] {
    return [...this.#devices.values()].map((device) => device.stats());
  }

  /** Adds a device for a driver in shared memory. */
  async add(options: DeviceOptions): Promise<DeviceSetup> {
    await this.loadCode(options);
    const { numQueues } = options;
    const channel = options.channel ?? new SharedArrayBuffer(DeviceChannel.bytes(numQueues));
    this.plug(this.#newBackend(options), { options, channel }, undefined);
    return { channel };
  }

  /** Adds a device for the MessageDriver at the other end of `port`. */
  async addPort(options: PortDeviceOptions, port: MessagePort): Promise<DeviceState> {
    const ports = await this.portDevices();
    return ports.add(options, port);
  }

  /** The devices that are reached by messages. */
  async portDevices(): Promise<PortDevices> {
    const { PortDevices } = await import('./port-devices.ts');
    this.#ports ??= new PortDevices({
      context: this.#context,
      doorbell: this.doorbell,
      newBackend: (options) => this.#newBackend(options),
      newDevice: (...parts) => this.#newDevice(...parts),
      setUser: (...parts) => this.#setUser(...parts),
    });
    return this.#ports;
  }

  /** Loads the code for the rings that a device's driver may use. */
  async loadCode({ packed }: DeviceOptions): Promise<void> {
    if (packed === true)
      this.#packedCode ??= (await import('../virtio/packed-code.ts')).PACKED_SHARED;
  }

  /** Makes a device, new or from another thread, on `backend`; `loadCode` came before. */
  plug(backend: BlockBackend, wiring: DeviceWiring, resumeAt: RingPositions | undefined): void {
    const { options, channel } = wiring;
    const { id, numQueues } = options;
    const device = this.#newDevice(
      backend,
      options,
      new DeviceChannel(channel, numQueues),
      () => this.#post({ diskplane: 'call', device: id }),
      { resumeAt },
    );
    // What several threads serve stays with them.
    if (options.vqs !== undefined) return;
    const takeAway = (): TakenAway => {
      const user: MovedDevice = { resumeAt: device.leave() };
      return { user, transfer: [] };
    };
    this.#setUser(backend, device, takeAway, wiring);
  }

  /** Lets `backend` pause the device, and take it to another thread. */
  #setUser(
    backend: BlockBackend,
    device: VirtioBlk,
    takeAway: () => TakenAway,
    wiring?: DeviceWiring,
  ): void {
    backend.user = {
      wiring,
      pause: () => device.pause(),
      resume: () => device.resume(),
      takeAway: () => {
        this.#devices.delete(device.id);
        return takeAway();
      },
    };
  }

  /** Waits for what is in flight, then takes the device away. */
  async del(id: string): Promise<void> {
    const device = this.get(id);
    await device.drain();
    device.remove();
    this.#ports?.del(id);
    await this.#graph.closeBackend(device.backend);
    this.#devices.delete(id);
  }

  #newBackend(options: Pick<DeviceOptions, 'id' | 'drive' | 'readOnly'>): BlockBackend {
    const { id, drive, readOnly } = options;
    if (this.#devices.has(id)) throw new BlockError('EEXIST', `there is a device '${id}' already`);
    return this.#graph.newBackend({
      name: id,
      nodeName: drive,
      ...(readOnly === true ? { readOnly: true } : {}),
    });
  }

  #newDevice(
    backend: BlockBackend,
    options: DeviceOptions,
    channel: DeviceChannel,
    sendCall: () => void,
    { resumeAt, code }: { resumeAt?: RingPositions | undefined; code?: QueueCode } = {},
  ): VirtioBlk {
    const { id } = options;
    const { split, packed } = this.queueModules(options, code);
    const device = new VirtioBlk({
      id,
      context: this.#context,
      backend,
      channel,
      doorbell: this.doorbell,
      ram: new Uint8Array(options.memory.buffer, options.ramBase, options.ramBytes),
      newQueue: (index, config) =>
        new WasmQueue({
          module: config.packed === true ? packed : split,
          ramBase: options.ramBase,
          ramSize: options.ramBytes,
          scratch: options.scratch + index * QUEUE_SCRATCH_BYTES,
          config,
        }),
      serial: options.serial ?? id,
      vqs: options.vqs,
      follower: options.channel !== undefined,
      everyKick: options.everyKick,
      onError: (...report) => this.#ioError(id, ...report),
      onBroken: (reason) => this.#post({ diskplane: 'broken', device: id, reason }),
      sendCall,
      resumeAt,
    });
    this.#devices.set(id, device);
    return device;
  }

  /** The queues' code on a device's memory. */
  queueModules(
    { memory, packed }: DeviceOptions,
    code?: QueueCode,
  ): { split: QueueModule; packed: QueueModule } {
    const split = instantiateQueueModule(memory, code);
    return {
      split,
      packed: packed === true ? instantiateQueueModule(memory, this.#packedCode) : split,
    };
  }

  #event(event: IOThreadEvent): void {
    this.#post({ diskplane: 'event', event });
  }

  #ioError(device: string, ...[operation, ret, offset]: Parameters<IOErrorReport>): void {
    const code = errorCode(ret);
    const message = `${operation} at ${offset} failed: ${code}`;
    this.#event({ event: 'BLOCK_IO_ERROR', device, operation, code, message });
  }
}
