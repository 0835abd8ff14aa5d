// The words that a device's transport (registers, on the emulator's thread) and its data plane (on
// an IOThread) share: what vhost is to QEMU. Starting, resetting and resizing the device go through
// here, never through messages, so that they keep their order with the guest's kicks. This is the data
// plane's side; `transport-channel.ts` has the other.

/** Words (i32) of the device. */
export const GENERATION = 0; // bumped by the transport at reset and at DRIVER_OK; odd while running
export const BROKEN = 2; // VQ_* of the queue that broke, or DEVICE_GONE
export const CONFIG_GENERATION = 3; // bumped by the data plane with each new capacity
const CAPACITY_LO = 4; // sectors
const CAPACITY_HI = 5;
export const WRITE_CACHE = 6; // 1: writeback, 0: writethrough (every write FUA)
export const CONFIG_CALL = 7; // config interrupt pending
export const WAITING = 8; // how the transport sleeps: WAIT_*
export const CALL_SEQ = 9; // bumped with each interrupt; what the transport waits on
export const FEATURES_LO = 10;
export const FEATURES_HI = 11;
export const LAST_ERRNO = 12; // of the latest request that failed: the status byte only says IOERR
export const DEVICE_WORDS = 16;

/** Words of one queue. */
const Q_KICK = 0;
export const Q_CALL = 1; // 1: an interrupt is due for this queue
export const Q_SIZE = 2; // 0: not enabled
export const Q_DESC = 3;
export const Q_AVAIL = 4;
export const Q_USED = 5;
export const Q_LAST_AVAIL = 6; // where to start (0, or from a saved state)
export const Q_USED_IDX = 7;
export const Q_ACKNOWLEDGED = 8; // the generation that whoever serves this queue has taken over
export const QUEUE_WORDS = 9;

/** `BROKEN` when the worker is no more, rather than a `VQ_*` reason. */
export const DEVICE_GONE = 255;

/** The transport is awake and looks by itself. */
export const WAIT_NONE = 0;
/** It sleeps in `Atomics.wait` or `waitAsync` on `callWord`: notify it. */
export const WAIT_ATOMICS = 1;
/** It has no `waitAsync`: post it a message. */
export const WAIT_MESSAGE = 2;

/** One queue as the driver set it up. Addresses are guest-physical bytes below 4 GiB. */
export interface QueueSetup {
  /** Entries, a power of two; 0: the queue is not enabled. */
  readonly size: number;
  /** Of the descriptor table, or of a packed ring. */
  readonly desc: number;
  /** Of the driver area. */
  readonly avail: number;
  /** Of the device area. */
  readonly used: number;
  /** Where to go on in the driver's ring, free-running, mod 65536: 0 for a fresh queue. */
  readonly lastAvail: number;
  /** The same in the device's ring. */
  readonly usedIdx: number;
}

/**
 * Each side makes one over the same SharedArrayBuffer. Over an ArrayBuffer, both sides are on one
 * thread, and the transport asks for messages: it cannot wait.
 */
export class DeviceChannel {
  /** All of it. */
  readonly words: Int32Array;
  /** Queues that it has room for. */
  readonly numQueues: number;

  static bytes(numQueues: number): number {
    return 4 * (DEVICE_WORDS + numQueues * QUEUE_WORDS);
  }

  constructor(buffer: ArrayBufferLike, numQueues: number) {
    this.words = new Int32Array(buffer, 0, DEVICE_WORDS + numQueues * QUEUE_WORDS);
    this.numQueues = numQueues;
  }

  /** The indices of all queues. */
  get allQueues(): readonly number[] {
    return Array.from({ length: this.numQueues }, (_, q) => q);
  }
  /** Index in `words` of queue `q`'s kick flag, for its EventNotifier. */
  kickIndex(q: number): number {
    return DEVICE_WORDS + q * QUEUE_WORDS + Q_KICK;
  }
  // Either side.

  /** Even: reset; odd: running. */
  get generation(): number {
    return Atomics.load(this.words, GENERATION);
  }
  /** `VQ_*`, DEVICE_GONE, or 0. */
  get broken(): number {
    return Atomics.load(this.words, BROKEN);
  }
  /** Writes need a flush to be durable; when off, each is durable before it is answered. */
  get writeCache(): boolean {
    return Atomics.load(this.words, WRITE_CACHE) !== 0;
  }
  /** Disk size in 512-byte sectors. */
  get capacity(): number {
    const low = Atomics.load(this.words, CAPACITY_LO) >>> 0;
    return Atomics.load(this.words, CAPACITY_HI) * 2 ** 32 + low;
  }
  /** Those that were negotiated, by bit number. */
  get features(): bigint {
    const low = BigInt.asUintN(32, BigInt(Atomics.load(this.words, FEATURES_LO)));
    const high = BigInt.asUintN(32, BigInt(Atomics.load(this.words, FEATURES_HI)));
    return (high << 32n) | low;
  }

  // The data plane's side.

  /** Queue `q` as the transport has set it up. */
  queue(q: number): QueueSetup {
    const at = DEVICE_WORDS + q * QUEUE_WORDS;
    return {
      size: Atomics.load(this.words, at + Q_SIZE),
      desc: Atomics.load(this.words, at + Q_DESC) >>> 0,
      avail: Atomics.load(this.words, at + Q_AVAIL) >>> 0,
      used: Atomics.load(this.words, at + Q_USED) >>> 0,
      lastAvail: Atomics.load(this.words, at + Q_LAST_AVAIL),
      usedIdx: Atomics.load(this.words, at + Q_USED_IDX),
    };
  }
  /**
   * @internal Says that buffers of generations before `generation` are touched no more by whoever serves the queues
   * `served`.
   */
  acknowledge(generation: number, served: Iterable<number>): void {
    for (const q of served) {
      Atomics.store(this.words, DEVICE_WORDS + q * QUEUE_WORDS + Q_ACKNOWLEDGED, generation);
    }
    this.#wake();
  }
  /** @internal Raises queue `q`'s interrupt. Answers true when the transport wants a message as well. */
  call(q: number): boolean {
    Atomics.store(this.words, DEVICE_WORDS + q * QUEUE_WORDS + Q_CALL, 1);
    return this.#wake();
  }
  /** @internal Reports a new size in sectors. Answers as `call`. */
  setCapacity(sectors: number): boolean {
    Atomics.store(this.words, CAPACITY_LO, sectors | 0);
    Atomics.store(this.words, CAPACITY_HI, Math.floor(sectors / 2 ** 32));
    Atomics.add(this.words, CONFIG_GENERATION, 1);
    Atomics.store(this.words, CONFIG_CALL, 1);
    return this.#wake();
  }
  /** @internal Notes why a request failed, before its completion is published. Positive errno. */
  setLastErrno(errno: number): void {
    Atomics.store(this.words, LAST_ERRNO, errno);
  }
  /** @internal The device needs reset. Answers as `call`. */
  break(reason: number): boolean {
    Atomics.store(this.words, BROKEN, reason);
    Atomics.store(this.words, CONFIG_CALL, 1);
    return this.#wake();
  }

  #wake(): boolean {
    Atomics.add(this.words, CALL_SEQ, 1);
    const how = Atomics.load(this.words, WAITING);
    if (how === WAIT_ATOMICS) Atomics.notify(this.words, CALL_SEQ);
    return how === WAIT_MESSAGE;
  }
}
