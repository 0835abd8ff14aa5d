// An IOThread with one disk and one virtio-blk device, and the counts of all that happened in it.

import { startIOThread } from '../../index.ts';
import type { IOThread } from '../../index.ts';
import type { DeviceHandle } from '../../iothread/device-handle.ts';
import { QUEUE_SCRATCH_BYTES } from '../../virtio/wasm-queue.ts';
import { GUEST_RAM_BYTES } from './guest.ts';
import type { GuestDevice } from './guest.ts';
import type { Counts } from './row.ts';

const WASM_PAGE = 65536;
const DEVICE = 'bench';
/** Counts whose being zero says something. */
const ALWAYS: ReadonlySet<string> = new Set(['requests', 'promises', 'viewsMade', 'loopSleeps']);

/** Guest RAM of GUEST_RAM_BYTES, and the device's scratch behind it, for two queues. */
export function newGuestMemory(): WebAssembly.Memory {
  const pages = Math.ceil((GUEST_RAM_BYTES + 2 * QUEUE_SCRATCH_BYTES) / WASM_PAGE);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

export class DiskUnderTest {
  readonly #thread: IOThread;
  readonly #device: DeviceHandle;
  readonly #memory: WebAssembly.Memory;
  readonly #diskBytes: number;
  #before: Counts = {};

  /** `open` answers the node name of the disk, and may fill it. */
  static async start(
    diskBytes: number,
    open: (thread: IOThread) => Promise<string>,
  ): Promise<DiskUnderTest> {
    const thread = await startIOThread({ id: 'bench' });
    try {
      const drive = await open(thread);
      const memory = newGuestMemory();
      const device = await thread.deviceAdd({
        id: DEVICE,
        drive,
        memory,
        ramBase: 0,
        ramBytes: GUEST_RAM_BYTES,
        scratch: GUEST_RAM_BYTES,
        numQueues: 1,
      });
      return new DiskUnderTest(thread, device, memory, diskBytes);
    } catch (error) {
      thread.terminate();
      throw error;
    }
  }

  private constructor(
    thread: IOThread,
    device: DeviceHandle,
    memory: WebAssembly.Memory,
    diskBytes: number,
  ) {
    this.#thread = thread;
    this.#device = device;
    this.#memory = memory;
    this.#diskBytes = diskBytes;
  }

  /** What a guest needs to drive the device. */
  get guestDevice(): GuestDevice {
    return {
      memory: this.#memory,
      channel: this.#device.channel.words.buffer as SharedArrayBuffer,
      doorbell: this.#device.doorbell()!, // of a thread on shared memory
      diskBytes: this.#diskBytes,
    };
  }

  async startCounting(): Promise<void> {
    this.#before = await this.#totals();
  }

  /** What was counted since `startCounting`; what never happens on this kind of disk is left out. */
  async counts(): Promise<Counts> {
    const after = Object.entries(await this.#totals());
    return Object.fromEntries(
      after
        .filter(([name, total]) => total > 0 || ALWAYS.has(name))
        .map(([name, total]) => [name, total - (this.#before[name] ?? 0)]),
    );
  }

  async close(): Promise<void> {
    await this.#device.remove();
    await this.#thread.close();
  }

  async #totals(): Promise<Counts> {
    const { loop, devices } = await this.#thread.queryIothread();
    const nodes = await this.#thread.queryBlockstats();
    const device = devices.find(({ id }) => id === DEVICE)!;
    const sum = (count: (node: (typeof nodes)[number]) => number): number =>
      nodes.reduce((total, node) => total + count(node), 0);
    const counters = (...names: string[]): number =>
      sum(({ counters }) => names.reduce((total, name) => total + (counters[name] ?? 0), 0));
    return {
      requests: device.requests,
      promises: sum((node) => node.promises) + device.requests - device.answeredSync,
      hostCalls: counters('hostReads', 'hostWrites', 'hostFlushes'),
      transactions: counters('readTransactions', 'writeTransactions'),
      fetches: counters('requests'),
      batches: device.batches,
      interrupts: device.interrupts,
      viewsMade: device.viewsMade,
      loopSleeps: loop.blockingSleeps + loop.asyncSleeps,
    };
  }
}
