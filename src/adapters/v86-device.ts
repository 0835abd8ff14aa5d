// A virtio-blk device in a v86 machine: the registers on one side, a data path on the other, and the
// places where completions are looked for. Most are seen by this thread itself - at the end of the
// notify handler, when the guest halts, between slices of guest code - and never wait for a message.

import { BlockError } from '../block/block-error.ts';
import type { Disk } from '../disk.ts';
import { VirtioBlkConfig } from '../virtio/virtio-blk-config.ts';
import { VirtioPci } from '../virtio/virtio-pci.ts';
import type { VirtioPciState } from '../virtio/virtio-pci.ts';
import { CompletionPoll } from './completion-poll.ts';
import type { DataPath, Transport } from './data-path.ts';
import { checkSavedDisk, saveDisk } from './saved-disk.ts';
import type { SavedDisk, StatefulDisk } from './saved-disk.ts';
import type { MachineListener, V86Machine } from './v86-machine.ts';
import { plugVirtioBlk } from './v86-pci.ts';
import type { PciFunction, PciPlace } from './v86-pci.ts';

export interface V86DeviceOptions extends PciPlace {
  readonly machine: V86Machine;
  readonly path: DataPath;
  /** Why this data path was taken; for people. */
  readonly reason: string;
  readonly disk: StatefulDisk & Pick<Disk, 'readOnly' | 'enableWriteCache'>;
  readonly queueSize: number;
}

/** Counts since the device was attached. */
export interface V86DeviceStats {
  /** How data travel. */
  readonly transport: Transport;
  /** Why that way; for people. */
  readonly reason: string;
  /** PCI slot. */
  readonly slot: number;
  /** Notifications by the driver that reached a queue. */
  readonly kicks: number;
  /** Interrupts raised. */
  readonly interrupts: number;
  /** Device resets: by the driver, or as the machine reboots. */
  readonly resets: number;
  /** Looks that found something, by place: where a completion was seen first. */
  readonly seen: Readonly<Record<SeenAt, number>>;
  /** Busy waits at the end of a notification. */
  readonly notifyPoll: PollStats;
  /** Busy waits while the guest had halted. */
  readonly haltPoll: PollStats;
  /** Requests under way, as far as the emulator's thread has seen them. */
  readonly inFlight: number;
  /** Why the device needs reset, when it does. */
  readonly failure: string | undefined;
  /** Counts of the transport: chains, JIT invalidations, bytes copied … */
  readonly counters: Readonly<Record<string, number>>;
}

/** What `save` answers: plain data, to be kept beside v86's own saved state. */
export interface V86DeviceState {
  /** Of this format. */
  readonly version: 1;
  /** Which version of which disk the guest's memory goes with. */
  readonly disk: SavedDisk;
  /** The device's registers. */
  readonly registers: VirtioPciState;
}

/** How often waiting was worth it. */
export interface PollStats {
  /** Waits that found something. */
  readonly hits: number;
  /** Waits in vain. */
  readonly misses: number;
  /** Times it did not wait, since that was in vain lately. */
  readonly skipped: number;
}

/**
 * As the guest notified or read a register, while it had halted, between slices of its code, as the emulator
 * went back to the host; `message`: the fallback, where nobody had looked.
 */
export type SeenAt = 'notify' | 'register' | 'halt' | 'pause' | 'yield' | 'message';

/** A virtio-blk device in a v86 machine; what `attachVirtioBlk` answers. */
export class V86Device {
  /** How data travel. */
  readonly transport: Transport;
  /** Why that way was taken; for people. */
  readonly reason: string;
  readonly #machine: V86Machine;
  readonly #path: DataPath;
  readonly #disk: StatefulDisk;
  readonly #pci: VirtioPci;
  readonly #function: PciFunction;
  readonly #notifyPoll: CompletionPoll;
  readonly #haltPoll: CompletionPoll;
  readonly #listener: MachineListener;
  readonly #due: () => boolean;
  readonly #seen = { notify: 0, register: 0, halt: 0, pause: 0, yield: 0, message: 0 };
  #kicks = 0;
  #idle: (() => void)[] = [];

  /** Plugs the device in. The machine is loaded and does not run yet. */
  constructor(options: V86DeviceOptions) {
    const { machine, path, queueSize, disk } = options;
    const { channel } = path;
    this.transport = path.transport;
    this.reason = options.reason;
    this.#machine = machine;
    this.#path = path;
    this.#disk = disk;
    this.#due = (): boolean => path.due();
    const now = (): number => machine.now();
    this.#notifyPoll = new CompletionPoll(now);
    this.#haltPoll = new CompletionPoll(now);
    this.#pci = new VirtioPci({
      channel,
      config: new VirtioBlkConfig({
        channel,
        queueSize,
        readOnly: disk.readOnly,
        writeCache: disk.enableWriteCache,
      }),
      queueSize,
      ramBytes: machine.ramBytes,
      hooks: {
        kick: (q) => this.#kick(q),
        setIrq: (up) => machine.setIrq(this.#function.pciId, up),
        progress: () => this.#look('register'),
        isGone: () => path.failed !== undefined,
        guestWord: (address) => machine.ramHalves[address >> 1]!,
      },
    });
    this.#function = plugVirtioBlk(machine, this.#pci, options);
    this.#listener = {
      onPause: (halted) => this.#onPause(halted),
      onYield: (ms) => this.#onYield(ms),
      onReboot: () => this.#pci.reset(),
    };
    machine.listen(this.#listener);
    path.onDue(() => this.#onDue());
  }

  /** PCI slot that it is plugged into. */
  get slot(): number {
    return this.#function.slot;
  }

  /** Its counts, as they are now. */
  stats(): V86DeviceStats {
    const { hits, misses, skipped } = this.#notifyPoll;
    const halt = this.#haltPoll;
    return {
      transport: this.transport,
      reason: this.reason,
      slot: this.slot,
      kicks: this.#kicks,
      interrupts: this.#pci.interrupts,
      resets: this.#pci.resets,
      seen: { ...this.#seen },
      notifyPoll: { hits, misses, skipped },
      haltPoll: { hits: halt.hits, misses: halt.misses, skipped: halt.skipped },
      inFlight: this.#path.inFlight,
      failure: this.#pci.failure,
      counters: this.#path.counters,
    };
  }

  /**
   * The registers and which version of its contents the disk has, as plain data. Stop the emulator
   * first, and call `save_state` after; this waits for the requests in flight, hands their interrupts
   * to the guest and flushes. Throws BlockError: EBUSY while firmware waits for its disk, ENODEV when
   * the disk is gone.
   */
  async save(): Promise<V86DeviceState> {
    for (;;) {
      this.#look('message');
      if (this.#path.failed !== undefined) {
        throw new BlockError('ENODEV', 'the disk of the device is gone');
      }
      if (this.#path.inFlight === 0) break;
      if (!this.#path.expecting() && this.#path.inFlight > 0) {
        // Firmware, which waits for the used ring itself: no interrupt will tell us.
        throw new BlockError('EBUSY', 'the guest is waiting for its disk without interrupts');
      }
      const idle = new Promise<void>((resolve) => this.#idle.push(resolve));
      this.#path.arm();
      if (this.#due()) this.#onDue();
      await idle;
    }
    const disk = await saveDisk(this.#disk);
    return { version: 1, disk, registers: this.#pci.save() };
  }

  /**
   * Puts saved registers back, after `emulator.restore_state`, before `run`. Throws
   * BlockError('ESTALE'), which says why and what to do, where the disk is not what it was.
   */
  async restore(state: V86DeviceState): Promise<void> {
    if (state.version !== 1) {
      const version = String((state as { version: unknown }).version);
      throw new BlockError('EINVAL', `version ${version} of saved states is not supported`);
    }
    checkSavedDisk(state.disk, await saveDisk(this.#disk));
    this.#pci.restore(state.registers);
  }

  /** Takes the device off the machine and away from its IOThread. The disk stays open. */
  async detach(): Promise<void> {
    this.#machine.unlisten(this.#listener);
    this.#path.onDue(null);
    this.#pci.reset();
    this.#function.unplug();
    await this.#path.remove();
  }

  #onPause(halted: boolean): void {
    const wait = halted && this.#path.polls && this.#path.expecting();
    if (wait && this.#haltPoll.wait(this.#due)) this.#look('halt');
    else this.#look('pause');
  }

  #onYield(ms: number): void {
    if (ms <= 0 || this.#path.inFlight === 0) return; // back in a turn, or nothing to wait for
    this.#path.arm();
    this.#look('yield');
  }

  #kick(q: number): void {
    this.#kicks += 1;
    this.#path.kick(q);
    if (this.#path.polls && this.#path.expecting()) this.#notifyPoll.wait(this.#due);
    this.#look('notify');
  }

  #look(where: SeenAt): void {
    if (this.#path.due()) this.#seen[where] += 1;
    this.#path.look();
    this.#pci.update();
  }

  #onDue(): void {
    this.#look('message');
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
