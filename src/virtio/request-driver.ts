// What submits requests to a device of ours, as `DiskRequests` and the bounce path see it: slots that
// hold a request and its data each, a batch published with one `kick`, completions taken with `reap`.
// `VirtioBlkDriver` goes through a ring in shared memory.

/** Largest request, bytes. Callers split what is longer. */
export const MAX_REQUEST_BYTES: number = 1024 * 1024;

export interface RequestDriver {
  /** Requests submitted and not yet reaped. */
  readonly inFlight: number;
  /** True when the device answered nonsense; nothing is taken or reaped any more. */
  readonly broken: boolean;

  /** Reserves a request of `bytes` bytes of data, at most MAX_REQUEST_BYTES; -1 when full. */
  reserve(bytes: number): number;
  /** Bytes reserved for `slot`. */
  bytesOf(slot: number): number;
  /** Copies `source` into the slot's data at `at`. */
  put(slot: number, at: number, source: Uint8Array): void;
  /** Copies the slot's data from `at` on into `target`. */
  get(slot: number, at: number, target: Uint8Array): void;
  /** Enters the slot's request, unseen until `kick`. `offset`: bytes, whole sectors. */
  submit(slot: number, type: number, offset: number): void;
  /** Shows the device all that was submitted. */
  kick(): void;

  /** True when `reap` would find something: a load or two. */
  hasUsed(): boolean;
  /**
   * Calls back for each completion, with VIRTIO_BLK_S_*, and answers how many there were. The
   * slot's data are valid inside the callback, which may submit again.
   */
  reap(onDone: (slot: number, status: number) => void): number;
  /** Asks to be called for the next completion; true when there is something to reap already. */
  enableCalls(): boolean;
}
