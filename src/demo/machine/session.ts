// One boot of one disk, from opening it to closing it. Everything that holds a lock, a worker or an
// emulator is in here, and `end` gives all of it back.

import type { BootKind, BootPlan, BootSource, ReportStep } from '../boot/boot-plan.ts';
import { STORE_NAMES } from '../boot/store-kind.ts';
import { openDisk } from '../../index.ts';
import type { Disk, IOThreadEvent } from '../../index.ts';
import { Machine } from './machine.ts';
import type { TransportKind } from './transport-choice.ts';

export interface SessionOptions {
  readonly source: BootSource;
  readonly kind: BootKind;
  readonly transport: TransportKind;
  readonly firmware: string;
  /** Where the VGA screen is drawn. */
  readonly screen: HTMLElement;
  readonly report: ReportStep;
  readonly onEvent: (event: IOThreadEvent) => void;
  readonly onSerial: (bytes: Uint8Array) => void;
  /** `prepare` is over: from here on errors are the disk's or the machine's. */
  readonly onPrepared: (plan: BootPlan) => void;
}

export class Session {
  readonly plan: BootPlan;
  readonly disk: Disk;
  readonly machine: Machine;
  #ended: Promise<void> | undefined;

  /** Everything up to a machine that is ready to run. Throws BlockError and leaves nothing open. */
  static async open(options: SessionOptions, signal: AbortSignal): Promise<Session> {
    const { source, report, transport, firmware, kind, screen, onSerial } = options;
    const plan = await source.prepare(report, signal, kind);
    options.onPrepared(plan);
    report('disk', 'active', 'Opening the disk on an IOThread');
    const disk = await openDisk(plan.blockdev, {
      onEvent: options.onEvent,
      serial: 'diskplane',
      transport: transport === 'messages' ? 'messages' : 'shared',
      signal,
      ...(plan.thread === undefined ? {} : { thread: plan.thread }),
    });
    try {
      // This page draws latencies; what two looks at a clock cost, a guest in v86 does not notice.
      await disk.thread.blockLatencyHistogramSet(true);
      const { name, store } = plan.writesTo;
      report('disk', 'done', `Disk open: ${name.split('/').at(-1)} in ${STORE_NAMES[store]}`);
      report('emulator', 'active', 'Loading the emulator');
      const { memoryBytes, kernel } = plan;
      const machine = await Machine.create(disk, {
        ...{ transport, memoryBytes, kernel, firmware, screen, onSerial, signal },
      });
      report('emulator', 'done', 'v86 with a virtio-blk disk');
      return new Session(plan, disk, machine);
    } catch (error) {
      await disk.close().catch(() => {});
      throw error;
    }
  }

  private constructor(plan: BootPlan, disk: Disk, machine: Machine) {
    this.plan = plan;
    this.disk = disk;
    this.machine = machine;
  }

  /** Cuts the power, then flushes and closes the disk. Idempotent. Throws where the flush failed. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  /** For a page that goes away: starts the flush and the close, and does not wait. */
  abandon(): void {
    this.end()
      .catch(() => {})
      .finally(() => this.disk.thread.terminate());
  }

  async #end(): Promise<void> {
    try {
      await this.machine.end();
    } finally {
      await this.disk.close();
    }
  }
}
