// One boot of one disk, from opening it to closing it. Everything that holds a lock, a worker or an
// emulator is in here, and `end` gives all of it back.

import { openDisk } from '../../index.ts';
import type { Disk, IOThreadEvent } from '../../index.ts';
import type { BootPlan, BootSource, ReportStep } from '../boot/boot-plan.ts';
import { Machine } from './machine.ts';
import type { Transport } from './transport-choice.ts';

export interface SessionOptions {
  readonly source: BootSource;
  readonly transport: Transport['kind'];
  readonly firmware: string;
  /** The VGA screen, for guests that have no serial console. */
  readonly screen: HTMLElement;
  readonly report: ReportStep;
  readonly onEvent: (event: IOThreadEvent) => void;
  readonly onSerial: (bytes: Uint8Array) => void;
  /** `prepare` is over: from here on errors are the disk's or the machine's. */
  readonly onPrepared: () => void;
}

export class Session {
  readonly plan: BootPlan;
  readonly disk: Disk;
  readonly machine: Machine;
  #ended: Promise<void> | undefined;

  /** Everything up to a machine that is ready to run. Throws BlockError and leaves nothing open. */
  static async open(options: SessionOptions, signal: AbortSignal): Promise<Session> {
    const { source, report, transport, firmware } = options;
    const plan = await source.prepare(report, signal);
    options.onPrepared();
    report('disk', 'active', 'Opening the disk on an IOThread');
    const disk = await openDisk(plan.blockdev, {
      onEvent: options.onEvent,
      serial: 'diskplane',
      transport: transport === 'messages' ? 'messages' : 'shared',
      signal,
    });
    try {
      report('disk', 'done', `Disk open: ${plan.writesTo.split('/').at(-1)} in this browser`);
      report('emulator', 'active', 'Loading the emulator');
      const machine = await Machine.create(disk, {
        transport,
        memoryBytes: plan.memoryBytes,
        kernel: plan.kernel,
        firmware,
        screen: plan.talk === undefined ? options.screen : null,
        onSerial: options.onSerial,
        signal,
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
