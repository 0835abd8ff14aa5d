// What a virtio-pci transport is made of, and what its saved state looks like.

import type { TransportChannel } from './transport-channel.ts';
import type { VirtioBlkConfig } from './virtio-blk-config.ts';
import type { SavedQueue } from './virtio-pci-queues.ts';

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
  readonly channel: TransportChannel;
  readonly config: VirtioBlkConfig;
  /** Entries of each queue at most; a power of two. */
  readonly queueSize: number;
  /** Bytes of guest memory, which rings have to lie in. */
  readonly ramBytes: number;
  readonly hooks: VirtioPciHooks;
}

/** The registers as plain data. Taken while nothing is in flight. */
export interface VirtioPciState {
  /** Device and driver feature select. */
  readonly featureSelect: readonly [number, number];
  /** Features of the driver, bits 0-31 and 32-63. */
  readonly features: readonly [number, number];
  /** device_status (virtio 1.2, 2.1). */
  readonly status: number;
  /** The ISR status that the driver has not read yet (4.1.4.5). */
  readonly isr: number;
  /** The cache mode, writeback of the configuration space (5.2.4). */
  readonly writeback: boolean;
  /** queue_select (4.1.4.3). */
  readonly queueSelect: number;
  /** One for each queue. */
  readonly queues: readonly SavedQueue[];
}
