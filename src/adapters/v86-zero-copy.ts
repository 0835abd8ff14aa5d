// The zero-copy path: v86 runs on shared memory, and the IOThread walks the guest's rings and reads
// and writes its buffers in place. This thread only rings the doorbell, takes interrupts, and keeps
// v86's JIT compiler in step with what the IOThread writes.

import type { DeviceHandle } from '../iothread/device-handle.ts';
import type { TransportChannel } from '../virtio/transport-channel.ts';
import { VIRTIO_F_EVENT_IDX } from '../virtio/spec.ts';
import type { DataPath } from './data-path.ts';
import { GuestBuffers } from './guest-buffers.ts';
import type { V86Machine } from './v86-machine.ts';

export class ZeroCopyPath implements DataPath {
  readonly transport = 'zero-copy' as const;
  readonly polls = true;
  readonly channel: TransportChannel;
  readonly #machine: V86Machine;
  readonly #device: DeviceHandle;
  readonly #onWritable: (from: number, to: number) => void;
  #queues: (GuestBuffers | undefined)[] = [];
  #generation = 0;
  #seq: number;
  #chains = 0;
  #invalidations = 0;

  /** `device` serves the guest's own memory. */
  constructor(machine: V86Machine, device: DeviceHandle) {
    this.#machine = machine;
    this.#device = device;
    this.channel = device.channel;
    this.#generation = this.channel.generation;
    this.#seq = this.channel.callSeq;
    const { cpu } = machine;
    this.#onWritable = (from, to): void => {
      this.#invalidations += 1;
      cpu.jit_dirty_cache(from, to);
    };
  }

  kick(q: number): void {
    this.#scan();
    this.#device.kick(q);
  }

  due(): boolean {
    return this.channel.callSeq !== this.#seq;
  }

  look(): void {
    const seq = this.channel.callSeq;
    if (seq !== this.#seq) {
      this.#seq = seq;
      for (const queue of this.#queues) queue?.signalled();
    }
    // A driver that was told not to kick has perhaps added chains since.
    this.#scan();
  }

  expecting(): boolean {
    for (const queue of this.#queues) if (queue?.expecting === true) return true;
    return false;
  }

  arm(): void {
    this.#device.armCall();
  }
  onDue(listener: (() => void) | null): void {
    this.#device.onCall(listener);
  }

  get inFlight(): number {
    return this.#queues.reduce((sum, queue) => sum + (queue?.inFlight ?? 0), 0);
  }
  get failed(): Error | undefined {
    return this.#device.failed;
  }
  get counters(): Readonly<Record<string, number>> {
    const live = this.#queues.reduce((sum, queue) => sum + (queue?.chains ?? 0), 0);
    return { chainsSeen: this.#chains + live, jitInvalidations: this.#invalidations };
  }

  remove(): Promise<void> {
    return this.#device.remove();
  }

  #scan(): void {
    if (this.channel.generation !== this.#generation) this.#takeOver();
    for (const queue of this.#queues) queue?.scan();
  }

  /** The driver reset or started the device. */
  #takeOver(): void {
    this.#generation = this.channel.generation;
    this.#chains = this.counters['chainsSeen']!;
    this.#queues = [];
    if ((this.#generation & 1) === 0) return;
    const eventIdx = ((this.channel.features >> BigInt(VIRTIO_F_EVENT_IDX)) & 1n) === 1n;
    for (let q = 0; q < this.channel.numQueues; q++) {
      const setup = this.channel.queue(q);
      if (setup.size === 0) continue;
      this.#queues[q] = new GuestBuffers(this.#machine.ram, setup, eventIdx, this.#onWritable);
    }
  }
}
