// The transport's side of a DeviceChannel: sets queues up, starts and resets the device, takes its
// interrupts, and says how it sleeps. The data plane never loads it.

import {
  DeviceChannel,
  GENERATION,
  BROKEN,
  CONFIG_GENERATION,
  WRITE_CACHE,
  CONFIG_CALL,
  WAITING,
  CALL_SEQ,
  FEATURES_LO,
  FEATURES_HI,
  LAST_ERRNO,
  DEVICE_WORDS,
  Q_CALL,
  Q_SIZE,
  Q_DESC,
  Q_AVAIL,
  Q_USED,
  Q_LAST_AVAIL,
  Q_USED_IDX,
  Q_ACKNOWLEDGED,
  QUEUE_WORDS,
} from './device-channel.ts';
import type { QueueSetup } from './device-channel.ts';

/**
 * What a device's registers say to the IOThread that serves its queues, and hear from it. `start` and
 * `reset` come into effect with a kick of each queue (`DeviceHandle.kick`), in order with those of the guest.
 */
export class TransportChannel extends DeviceChannel {
  /** One for both sides on this thread. */
  static local(numQueues: number): TransportChannel {
    return new TransportChannel(new ArrayBuffer(TransportChannel.bytes(numQueues)), numQueues);
  }

  /** Index of the word the transport waits on. */
  readonly callIndex: number = CALL_SEQ;

  /** Sets queue `q` up before `start`; a size of 0 leaves it out. */
  setQueue(q: number, setup: QueueSetup): void {
    const at = DEVICE_WORDS + q * QUEUE_WORDS;
    Atomics.store(this.words, at + Q_DESC, setup.desc | 0);
    Atomics.store(this.words, at + Q_AVAIL, setup.avail | 0);
    Atomics.store(this.words, at + Q_USED, setup.used | 0);
    Atomics.store(this.words, at + Q_LAST_AVAIL, setup.lastAvail);
    Atomics.store(this.words, at + Q_USED_IDX, setup.usedIdx);
    Atomics.store(this.words, at + Q_SIZE, setup.size);
  }
  /** DRIVER_OK: the data plane may serve the queues. The caller kicks afterwards. */
  start(features: bigint, writeCache: boolean): void {
    Atomics.store(this.words, FEATURES_LO, Number(BigInt.asIntN(32, features)));
    Atomics.store(this.words, FEATURES_HI, Number(BigInt.asIntN(32, features >> 32n)));
    Atomics.store(this.words, WRITE_CACHE, writeCache ? 1 : 0);
    const now = Atomics.load(this.words, GENERATION);
    Atomics.store(this.words, GENERATION, (now + 1) | 1);
  }
  /** Device reset: in-flight requests are dropped. The caller kicks, and waits for `settled`. */
  reset(): void {
    for (let q = 0; q < this.numQueues; q++) {
      Atomics.store(this.words, DEVICE_WORDS + q * QUEUE_WORDS + Q_SIZE, 0);
      Atomics.store(this.words, DEVICE_WORDS + q * QUEUE_WORDS + Q_CALL, 0);
    }
    Atomics.store(this.words, BROKEN, 0);
    const now = Atomics.load(this.words, GENERATION);
    Atomics.store(this.words, GENERATION, ((now | 1) + 1) | 0);
  }
  /**
   * True when the data plane, on whatever threads, has taken over the last start or reset: it touches no
   * old buffer.
   */
  get settled(): boolean {
    const now = Atomics.load(this.words, GENERATION);
    for (let q = 0; q < this.numQueues; q++) {
      const at = DEVICE_WORDS + q * QUEUE_WORDS + Q_ACKNOWLEDGED;
      if (Atomics.load(this.words, at) !== now) return false;
    }
    return true;
  }
  /** Turns the write cache on or off while the device runs. */
  setWriteCache(on: boolean): void {
    Atomics.store(this.words, WRITE_CACHE, on ? 1 : 0);
  }
  /** @internal How the transport sleeps: `WAIT_*`. */
  setWaiting(how: number): void {
    Atomics.store(this.words, WAITING, how);
  }
  /** Takes queue `q`'s interrupt, if one is due. */
  takeCall(q: number): boolean {
    const at = DEVICE_WORDS + q * QUEUE_WORDS + Q_CALL;
    return Atomics.load(this.words, at) !== 0 && Atomics.exchange(this.words, at, 0) !== 0;
  }
  /** Takes the config interrupt (capacity changed, or the device needs reset). */
  takeConfigCall(): boolean {
    return (
      Atomics.load(this.words, CONFIG_CALL) !== 0 &&
      Atomics.exchange(this.words, CONFIG_CALL, 0) !== 0
    );
  }
  /** Positive errno of the latest request that failed; 0 when none did. */
  get lastErrno(): number {
    return Atomics.load(this.words, LAST_ERRNO);
  }
  /** Value of the word to wait on; read it before looking for work. */
  get callSeq(): number {
    return Atomics.load(this.words, CALL_SEQ);
  }
  /** Changes whenever `capacity` does (virtio 1.2, 2.5.1). */
  get configGeneration(): number {
    return Atomics.load(this.words, CONFIG_GENERATION) & 0xff;
  }
}
