// A modern virtio-pci transport for a block device (virtio 1.2, 4.1): the registers in BAR 0 and the
// INTx line. Pure state: an emulator's adapter routes port accesses here, and the DeviceChannel
// carries what they mean (start, reset, cache mode) to the data plane.

import { BlockError } from '../block/block-error.ts';
import type { DeviceChannel } from './device-channel.ts';
import { DEVICE_GONE } from './device-channel.ts';
import {
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_F_VERSION_1,
} from './spec.ts';
import type { VirtioBlkConfig } from './virtio-blk-config.ts';
import { VIRTIO_PCI_COMMON_BYTES, VIRTIO_PCI_DEVICE } from './virtio-pci-space.ts';
import { VIRTIO_PCI_ISR, VIRTIO_PCI_NOTIFY } from './virtio-pci-space.ts';
import { VirtioPciQueues } from './virtio-pci-queues.ts';
import type { SavedQueue } from './virtio-pci-queues.ts';
import { VQ_ERRORS } from './virtqueue.ts';

// 4.1.4.3 Common configuration structure: offset of each register.
const DEVICE_FEATURE_SELECT = 0x00;
const DEVICE_FEATURE = 0x04;
const DRIVER_FEATURE_SELECT = 0x08;
const DRIVER_FEATURE = 0x0c;
const MSIX_CONFIG = 0x10;
const DEVICE_STATUS = 0x14;
const QUEUE_SELECT = 0x16;
const QUEUE_SIZE = 0x18;
const QUEUE_ENABLE = 0x1c;
const QUEUE_DESC = 0x20;
/** The registers that a driver may write: [offset, bytes]. */
const WRITABLE: readonly (readonly [offset: number, bytes: number])[] = [
  [DEVICE_FEATURE_SELECT, 4],
  [DRIVER_FEATURE_SELECT, 4],
  [DRIVER_FEATURE, 4],
  [DEVICE_STATUS, 1],
  [QUEUE_SELECT, 2],
  [QUEUE_SIZE, 2],
  [QUEUE_ENABLE, 2],
  ...[0x20, 0x24, 0x28, 0x2c, 0x30, 0x34].map((offset) => [offset, 4] as const),
];
const VIRTIO_MSI_NO_VECTOR = 0xffff;

// 4.1.4.5 ISR status
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

/** What the registers need of the emulator and the data plane behind the channel. */
export interface VirtioPciHooks {
  /** The driver notified queue `q`, or the data plane must look at the channel. */
  kick(q: number): void;
  /** Drives the INTx line. Level: it stays up until the driver has read the ISR. */
  setIrq(up: boolean): void;
  /** The driver is about to look: completions seen so far must reach the channel first. */
  progress(): void;
  /** True when the data plane is no more and will acknowledge nothing. */
  isGone(): boolean;
  /** The 16-bit word at guest address `address`, which lies in guest memory. */
  guestWord(address: number): number;
}

export interface VirtioPciOptions {
  readonly channel: DeviceChannel;
  readonly config: VirtioBlkConfig;
  /** Entries of each queue at most; a power of two. */
  readonly queueSize: number;
  /** Bytes of guest memory, which rings have to lie in. */
  readonly ramBytes: number;
  /** Goes into the saved state, so that it is not restored onto another disk. */
  readonly serial: string;
  readonly hooks: VirtioPciHooks;
}

/** The registers as plain data. Taken while nothing is in flight. */
export interface VirtioPciState {
  readonly version: 1;
  /** The disk it belongs to: its serial and its size in sectors. */
  readonly serial: string;
  readonly capacity: number;
  /** Device and driver feature select. */
  readonly featureSelect: readonly [number, number];
  /** Features of the driver, bits 0-31 and 32-63. */
  readonly features: readonly [number, number];
  readonly status: number;
  readonly isr: number;
  readonly writeback: boolean;
  readonly queueSelect: number;
  readonly queues: readonly SavedQueue[];
}

export class VirtioPci {
  /** Why the device needs reset, for people; undefined while it does not. */
  failure: string | undefined;
  /** Counts: resets by the driver, interrupts raised, accesses by the driver to the ISR. */
  resets = 0;
  interrupts = 0;
  isrReads = 0;

  readonly #channel: DeviceChannel;
  readonly #config: VirtioBlkConfig;
  readonly #options: VirtioPciOptions;
  readonly #hooks: VirtioPciHooks;
  readonly #offered: readonly number[];
  readonly #queues: VirtioPciQueues;
  #status = 0;
  /** The status that a driver reads while a reset is under way; 0 when none is. */
  #resetting = 0;
  #isr = 0;
  #deviceSelect = 0;
  #driverSelect = 0;
  readonly #driverFeatures: number[] = [0, 0];
  /** The driver asked for a feature that was not offered. */
  #badFeatures = false;
  #gone = false;

  constructor(options: VirtioPciOptions) {
    this.#options = options;
    this.#channel = options.channel;
    this.#config = options.config;
    this.#hooks = options.hooks;
    const { features } = options.config;
    this.#offered = [Number(features & 0xffffffffn), Number(features >> 32n)];
    this.#queues = new VirtioPciQueues(
      options.channel.numQueues,
      options.queueSize,
      options.ramBytes,
    );
  }

  /** True from DRIVER_OK to reset: the data plane serves the queues. */
  get running(): boolean {
    return (this.#status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0;
  }
  get needsReset(): boolean {
    return (this.#status & VIRTIO_CONFIG_S_NEEDS_RESET) !== 0;
  }

  /** A read of `width` (1, 2 or 4) bytes at `offset` in BAR 0; unsigned. */
  read(offset: number, width: number): number {
    if (offset >= VIRTIO_PCI_DEVICE) return this.#config.read(offset - VIRTIO_PCI_DEVICE, width);
    if (offset === VIRTIO_PCI_ISR) return this.#readIsr();
    if (offset >= VIRTIO_PCI_COMMON_BYTES) return 0;
    const shift = 8 * (offset & 3);
    let value = this.#word(offset & ~3) >>> shift;
    if (shift > 0 && shift + 8 * width > 32) value |= this.#word((offset & ~3) + 4) << (32 - shift);
    return width === 4 ? value >>> 0 : value & (2 ** (8 * width) - 1);
  }

  /** A write of `width` (1, 2 or 4) bytes at `offset` in BAR 0. */
  write(offset: number, width: number, value: number): void {
    if (offset === VIRTIO_PCI_NOTIFY) {
      this.#notify(value & 0xffff);
    } else if (offset >= VIRTIO_PCI_DEVICE) {
      if (!this.#config.write(offset - VIRTIO_PCI_DEVICE, width, value)) return;
      if (this.running) this.#channel.setWriteCache(this.#writeCache());
    } else if (offset < VIRTIO_PCI_COMMON_BYTES) {
      this.#writeCommon(offset, width, value);
    }
  }

  /** Takes the interrupts that the data plane has raised. Cheap: adapters call it often. */
  update(): void {
    let isr = 0;
    for (let q = 0; q < this.#channel.numQueues; q++) {
      if (this.#channel.takeCall(q)) isr |= ISR_QUEUE;
    }
    if (this.#channel.takeConfigCall()) isr |= ISR_CONFIG;
    if (isr === 0) return;
    const reason = this.#channel.broken;
    this.#gone ||= reason === DEVICE_GONE;
    // What comes before DRIVER_OK is of an earlier life; a driver reads the configuration anyway.
    if (!this.running) return;
    if (reason !== 0) {
      this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
      this.failure ??= reason === DEVICE_GONE ? 'its IOThread is gone' : VQ_ERRORS[reason];
    }
    this.#raise(isr);
  }

  /**
   * The registers as plain data, for the emulator's saved state. The emulator is stopped; EBUSY
   * while the driver has requests that are not completed.
   */
  save(): VirtioPciState {
    return {
      version: 1,
      serial: this.#options.serial,
      capacity: this.#channel.capacity,
      featureSelect: [this.#deviceSelect, this.#driverSelect],
      features: [this.#driverFeatures[0]!, this.#driverFeatures[1]!],
      status: this.#status,
      isr: this.#isr,
      writeback: this.#config.writeback,
      queueSelect: this.#queues.selected,
      queues: this.#queues.save(this.running ? this.#hooks : undefined),
    };
  }

  /**
   * Puts saved registers back, after the emulator's memory was restored, and starts the device if
   * it ran. ESTALE when the state belongs to another disk: a guest would corrupt it.
   */
  restore(state: VirtioPciState): void {
    const { serial } = this.#options;
    const { capacity } = this.#channel;
    if (state.version !== 1 || state.serial !== serial || state.capacity !== capacity) {
      throw new BlockError(
        'ESTALE',
        `the saved state is of disk '${state.serial}' with ${state.capacity} sectors, ` +
          `this disk is '${serial}' with ${capacity}`,
      );
    }
    this.#queues.check(state.queues);
    this.#reset();
    [this.#deviceSelect, this.#driverSelect] = state.featureSelect;
    for (const i of [0, 1]) this.#driverFeatures[i] = state.features[i]! & this.#offered[i]!;
    this.#status = state.status;
    this.#resetting = 0;
    this.#config.writeback = state.writeback;
    this.#queues.restore(state.queues, state.queueSelect);
    if (this.running) this.#start();
    if (state.isr !== 0) this.#raise(state.isr);
  }

  /** Device reset, by the driver or because the machine reboots. */
  reset(): void {
    this.resets += 1;
    this.#reset();
  }

  #readIsr(): number {
    this.isrReads += 1;
    this.#hooks.progress();
    const isr = this.#isr;
    this.#isr = 0;
    if (isr !== 0) this.#hooks.setIrq(false);
    return isr;
  }

  #raise(isr: number): void {
    this.#isr |= isr;
    this.interrupts += 1;
    this.#hooks.setIrq(true);
  }

  #notify(q: number): void {
    if (!this.running || this.needsReset || !this.#queues.isEnabled(q)) return;
    this.#hooks.kick(q);
  }

  /** The common registers as little-endian words; `at` is a multiple of 4. */
  #word(at: number): number {
    switch (at) {
      case DEVICE_FEATURE_SELECT:
        return this.#deviceSelect;
      case DEVICE_FEATURE:
        return this.#offered[this.#deviceSelect] ?? 0;
      case DRIVER_FEATURE_SELECT:
        return this.#driverSelect;
      case DRIVER_FEATURE:
        return this.#driverFeatures[this.#driverSelect] ?? 0;
      case MSIX_CONFIG:
        return VIRTIO_MSI_NO_VECTOR | (this.#channel.numQueues << 16);
      case DEVICE_STATUS:
        return (
          this.#readStatus() | (this.#channel.configGeneration << 8) | (this.#queues.selected << 16)
        );
      case QUEUE_SIZE:
        return this.#queues.size | (VIRTIO_MSI_NO_VECTOR << 16);
      case QUEUE_ENABLE:
        return this.#queues.enabled ? 1 : 0; // and queue_notify_off 0
      default:
        return at < VIRTIO_PCI_COMMON_BYTES ? this.#queues.address((at - QUEUE_DESC) >> 2) : 0;
    }
  }

  #writeCommon(offset: number, width: number, value: number): void {
    for (const [at, bytes] of WRITABLE) {
      if (at === offset && bytes === width) {
        this.#setRegister(at, value);
        return;
      }
    }
    // A write that is wider or narrower than a register: merge it with what is there.
    for (const [at, bytes] of WRITABLE) {
      if (at >= offset + width || at + bytes <= offset) continue;
      let merged = this.read(at, bytes);
      for (let i = 0; i < width; i++) {
        const byte = offset + i - at;
        if (byte < 0 || byte >= bytes) continue;
        merged = (merged & ~(0xff << (8 * byte))) | (((value >>> (8 * i)) & 0xff) << (8 * byte));
      }
      this.#setRegister(at, merged);
    }
  }

  #setRegister(at: number, value: number): void {
    switch (at) {
      case DEVICE_FEATURE_SELECT:
        this.#deviceSelect = value >>> 0;
        break;
      case DRIVER_FEATURE_SELECT:
        this.#driverSelect = value >>> 0;
        break;
      case DRIVER_FEATURE:
        this.#writeFeatures(value >>> 0);
        break;
      case DEVICE_STATUS:
        this.#writeStatus(value & 0xff);
        break;
      case QUEUE_SELECT:
        this.#queues.selected = value & 0xffff;
        break;
      case QUEUE_SIZE:
        this.#queues.size = value & 0xffff;
        break;
      case QUEUE_ENABLE:
        if ((value & 1) === 0 || this.#queues.enable()) break;
        this.#fail(`queue ${this.#queues.selected} lies outside guest memory or is misaligned`);
        break;
      default:
        this.#queues.setAddress((at - QUEUE_DESC) >> 2, value >>> 0);
    }
  }

  /** The driver's features are frozen once FEATURES_OK is set (2.2, 3.1.1). */
  #writeFeatures(value: number): void {
    const window = this.#driverSelect;
    if ((this.#status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) return;
    const offered = this.#offered[window] ?? 0;
    if ((value & ~offered) !== 0) this.#badFeatures = true;
    if (window < 2) this.#driverFeatures[window] = (value & offered) >>> 0;
  }

  #has(bit: number): boolean {
    return ((this.#driverFeatures[bit >> 5]! >>> (bit & 31)) & 1) === 1;
  }

  /** Reads non-zero until the data plane has let go of the buffers (4.1.4.3.1). */
  #readStatus(): number {
    if (this.#resetting === 0) return this.#status;
    this.#hooks.progress();
    if (!this.#channel.settled && !this.#gone && !this.#hooks.isGone()) return this.#resetting;
    this.#resetting = 0;
    return this.#status;
  }

  #writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    this.#resetting = 0; // the driver did not wait; what is in flight is dropped all the same
    const before = this.#status;
    let status = value | (before & VIRTIO_CONFIG_S_NEEDS_RESET);
    const newly = status & ~before;
    if ((newly & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) {
      const acceptable = this.#has(VIRTIO_F_VERSION_1) && !this.#badFeatures;
      if (!acceptable) status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
    }
    this.#status = status;
    if ((newly & VIRTIO_CONFIG_S_DRIVER_OK) === 0) return;
    if ((status & VIRTIO_CONFIG_S_FEATURES_OK) === 0) this.#fail('DRIVER_OK without FEATURES_OK');
    if (this.#gone || this.#hooks.isGone()) this.#fail('its IOThread is gone');
    if (!this.needsReset) this.#start();
  }

  /** Without CONFIG_WCE a driver that cannot flush gets a cache that needs no flush (5.2.6.2). */
  #writeCache(): boolean {
    if (this.#has(VIRTIO_BLK_F_CONFIG_WCE)) return this.#config.writeback;
    return this.#has(VIRTIO_BLK_F_FLUSH);
  }

  #start(): void {
    for (let q = 0; q < this.#channel.numQueues; q++) {
      this.#channel.setQueue(q, this.#queues.setup(q));
    }
    const [low, high] = this.#driverFeatures;
    this.#channel.start((BigInt(high!) << 32n) | BigInt(low!), this.#writeCache());
    this.#kickAll();
  }

  #reset(): void {
    const busy = this.running;
    if (busy) this.#resetting = this.#status;
    this.#gone ||= this.#channel.broken === DEVICE_GONE;
    this.#status = 0;
    this.#isr = 0;
    this.#deviceSelect = 0;
    this.#driverSelect = 0;
    this.#driverFeatures.fill(0);
    this.#badFeatures = false;
    this.failure = undefined;
    this.#queues.reset();
    this.#config.reset();
    this.#hooks.setIrq(false);
    this.#channel.reset();
    if (busy) this.#kickAll();
  }

  #kickAll(): void {
    for (let q = 0; q < this.#channel.numQueues; q++) this.#hooks.kick(q);
  }

  /** The driver broke the protocol: the device stands still until it is reset (2.1.2). */
  #fail(reason: string): void {
    this.failure ??= reason;
    this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (this.running) this.#raise(ISR_CONFIG);
  }
}
