// A modern virtio-pci transport for a block device (virtio 1.2, 4.1): the registers in BAR 0 and the
// INTx line. Pure state: an emulator's adapter routes port accesses here, and the TransportChannel
// carries what they mean (start, reset, cache mode) to the data plane.

import type { TransportChannel } from './transport-channel.ts';
import { DEVICE_GONE } from './device-channel.ts';
import {
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from './spec.ts';
import type { VirtioBlkConfig } from './virtio-blk-config.ts';
import { VirtioPciFeatures } from './virtio-pci-features.ts';
import type { VirtioPciHooks, VirtioPciOptions, VirtioPciState } from './virtio-pci-options.ts';
import * as common from './virtio-pci-registers.ts';
import type { CommonRegisters } from './virtio-pci-registers.ts';
import { VIRTIO_PCI_COMMON_BYTES, VIRTIO_PCI_DEVICE } from './virtio-pci-space.ts';
import { VIRTIO_PCI_ISR, VIRTIO_PCI_NOTIFY } from './virtio-pci-space.ts';
import { VirtioPciQueues } from './virtio-pci-queues.ts';
import { VQ_ERRORS } from './virtqueue.ts';

// 4.1.4.5 ISR status
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

export type { VirtioPciHooks, VirtioPciOptions, VirtioPciState } from './virtio-pci-options.ts';

export class VirtioPci implements CommonRegisters {
  /** Why the device needs reset, for people; undefined while it does not. */
  failure: string | undefined;
  /** Counts: resets by the driver, interrupts raised, accesses by the driver to the ISR. */
  resets = 0;
  interrupts = 0;
  isrReads = 0;

  readonly #channel: TransportChannel;
  readonly #config: VirtioBlkConfig;
  readonly #hooks: VirtioPciHooks;
  readonly #features: VirtioPciFeatures;
  readonly #queues: VirtioPciQueues;
  #status = 0;
  /** The status that a driver reads while a reset is under way; 0 when none is. */
  #resetting = 0;
  #isr = 0;
  /** Config generation of the capacity that the driver knows; it is told of later ones. */
  #capacitySeen = -1;
  #gone = false;

  constructor(options: VirtioPciOptions) {
    this.#channel = options.channel;
    this.#config = options.config;
    this.#hooks = options.hooks;
    this.#features = new VirtioPciFeatures(options.config.features);
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
    if (offset >= VIRTIO_PCI_DEVICE) {
      if (offset < VIRTIO_PCI_DEVICE + 8) this.#capacitySeen = this.#channel.configGeneration;
      return this.#config.read(offset - VIRTIO_PCI_DEVICE, width);
    }
    if (offset === VIRTIO_PCI_ISR) return this.#readIsr();
    if (offset >= VIRTIO_PCI_COMMON_BYTES) return 0;
    return common.readCommon(this, offset, width);
  }

  /** A write of `width` (1, 2 or 4) bytes at `offset` in BAR 0. */
  write(offset: number, width: number, value: number): void {
    if (offset === VIRTIO_PCI_NOTIFY) {
      this.#notify(value & 0xffff);
    } else if (offset >= VIRTIO_PCI_DEVICE) {
      if (!this.#config.write(offset - VIRTIO_PCI_DEVICE, width, value)) return;
      if (this.running) this.#channel.setWriteCache(this.#writeCache());
    } else if (offset < VIRTIO_PCI_COMMON_BYTES) {
      common.writeCommon(this, offset, width, value);
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
    // What comes before DRIVER_OK is of an earlier life; `#start` tells of a change of size.
    if (!this.running) return;
    if (reason !== 0) {
      this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
      this.failure ??= reason === DEVICE_GONE ? 'its IOThread is gone' : VQ_ERRORS[reason];
    }
    this.#raise(isr);
  }

  /**
   * The registers as plain data, for the emulator's saved state. The emulator is stopped; EBUSY
   * while the driver has requests that are not completed, ENOTSUP while it uses packed rings.
   */
  save(): VirtioPciState {
    return {
      featureSelect: [this.#features.deviceSelect, this.#features.driverSelect],
      features: this.#features.save(),
      status: this.#status,
      isr: this.#isr,
      writeback: this.#config.writeback,
      queueSelect: this.#queues.selected,
      queues: this.#queues.save(this.#isPacked(), this.running ? this.#hooks : undefined),
    };
  }

  /**
   * Puts saved registers back, after the emulator's memory was restored, and starts the device if
   * it ran. The disk is the one that the state was saved with: whoever calls has checked that. EINVAL
   * when the state does not fit the device.
   */
  restore(state: VirtioPciState): void {
    const packed = (state.features[1] & (1 << (VIRTIO_F_RING_PACKED - 32))) !== 0;
    this.#queues.check(state.queues, packed);
    this.#reset();
    [this.#features.deviceSelect, this.#features.driverSelect] = state.featureSelect;
    this.#features.restore(state.features);
    this.#status = state.status;
    this.#resetting = 0;
    this.#config.writeback = state.writeback;
    this.#capacitySeen = this.#channel.configGeneration;
    this.#queues.restore(state.queues, state.queueSelect);
    if (this.running) this.#start();
    if (state.isr !== 0) this.#raise(state.isr);
  }

  /** Device reset, by the driver or because the machine reboots. */
  reset(): void {
    this.resets += 1;
    this.#reset();
  }

  #isPacked(): boolean {
    return this.#features.has(VIRTIO_F_RING_PACKED);
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

  /** @internal For `common.readCommon`. */
  word(at: number): number {
    switch (at) {
      case common.DEVICE_FEATURE_SELECT:
        return this.#features.deviceSelect;
      case common.DEVICE_FEATURE:
        return this.#features.device;
      case common.DRIVER_FEATURE_SELECT:
        return this.#features.driverSelect;
      case common.DRIVER_FEATURE:
        return this.#features.driver;
      case common.MSIX_CONFIG:
        return common.VIRTIO_MSI_NO_VECTOR | (this.#channel.numQueues << 16);
      case common.DEVICE_STATUS:
        return (
          this.#readStatus() | (this.#channel.configGeneration << 8) | (this.#queues.selected << 16)
        );
      case common.QUEUE_SIZE:
        return this.#queues.size | (common.VIRTIO_MSI_NO_VECTOR << 16);
      case common.QUEUE_ENABLE:
        return this.#queues.enabled ? 1 : 0; // and queue_notify_off 0
      default:
        return at < VIRTIO_PCI_COMMON_BYTES
          ? this.#queues.address((at - common.QUEUE_ADDRESSES) >> 2)
          : 0;
    }
  }

  /** @internal For `common.writeCommon`. */
  setRegister(at: number, value: number): void {
    switch (at) {
      case common.DEVICE_FEATURE_SELECT:
        this.#features.deviceSelect = value >>> 0;
        break;
      case common.DRIVER_FEATURE_SELECT:
        this.#features.driverSelect = value >>> 0;
        break;
      case common.DRIVER_FEATURE:
        // Frozen once FEATURES_OK is set (2.2, 3.1.1).
        if ((this.#status & VIRTIO_CONFIG_S_FEATURES_OK) !== 0) break;
        this.#features.driver = value >>> 0;
        break;
      case common.DEVICE_STATUS:
        this.#writeStatus(value & 0xff);
        break;
      case common.QUEUE_SELECT:
        this.#queues.selected = value & 0xffff;
        break;
      case common.QUEUE_SIZE:
        this.#queues.size = value & 0xffff;
        break;
      case common.QUEUE_ENABLE:
        if ((value & 1) === 0 || this.#queues.enable(this.#isPacked())) break;
        this.#fail(`queue ${this.#queues.selected} lies outside guest memory or is misaligned`);
        break;
      default:
        this.#queues.setAddress((at - common.QUEUE_ADDRESSES) >> 2, value >>> 0);
    }
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
      const acceptable = this.#features.has(VIRTIO_F_VERSION_1) && !this.#features.overreached;
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
    if (this.#features.has(VIRTIO_BLK_F_CONFIG_WCE)) return this.#config.writeback;
    return this.#features.has(VIRTIO_BLK_F_FLUSH);
  }

  #start(): void {
    for (let q = 0; q < this.#channel.numQueues; q++) {
      this.#channel.setQueue(q, this.#queues.setup(q));
    }
    this.#channel.takeConfigCall(); // of before: told below, if the size is news to the driver
    this.#channel.start(this.#features.negotiated, this.#writeCache());
    this.#kickAll();
    if (this.#capacitySeen !== this.#channel.configGeneration) this.#raise(ISR_CONFIG);
  }

  #reset(): void {
    const busy = this.running;
    if (busy) this.#resetting = this.#status;
    this.#gone ||= this.#channel.broken === DEVICE_GONE;
    this.#status = 0;
    this.#isr = 0;
    this.#features.reset();
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
