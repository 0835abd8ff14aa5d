// The device's side of a virtqueue (virtio 1.2, 2.7), a batch at a time. It knows rings, guest
// memory and the split of a chain into readable and writable bytes; of disks it knows nothing but
// that a request starts with a 16-byte header and ends with a status byte.
//
// One `pop` fills a table of requests, one `flush` publishes all completions, so that the
// WebAssembly queue costs two calls a batch. `SplitQueue` and `PackedQueue` (TypeScript) are the
// references, `WasmQueue` is the twin of both; all write the same tables.

import { RING_EVENT_FLAGS_DESC, RING_EVENT_FLAGS_DISABLE, VIRTQ_MAX_SIZE } from './spec.ts';

/** Words (u32) of one entry in `Virtqueue.requests`. */
export const REQUEST_WORDS = 12;
/**
 * Names the chain to `push`. Split: the index of its head descriptor. Packed: the buffer id in the
 * low half, the ring slots that the chain takes in the high half.
 */
export const REQ_HEAD = 0;
/** First header word: `VIRTIO_BLK_T_*`, as the driver wrote it. */
export const REQ_TYPE = 1;
/** Third and fourth header words: the sector, low and high half. */
export const REQ_SECTOR_LO = 2;
export const REQ_SECTOR_HI = 3;
/** Guest address of the status byte: the last byte of the last writable descriptor. */
export const REQ_STATUS_ADDR = 4;
/** Device-readable data after the header: index of the first pair in `segments`, pairs, bytes. */
export const REQ_OUT_FIRST = 5;
export const REQ_OUT_COUNT = 6;
export const REQ_OUT_BYTES = 7;
/** Device-writable data before the status byte, likewise. */
export const REQ_IN_FIRST = 8;
export const REQ_IN_COUNT = 9;
export const REQ_IN_BYTES = 10;

/** Requests in one batch at most. */
export const MAX_BATCH = 128;
/** Buffers in one chain at most, direct and indirect (QEMU's VIRTQUEUE_MAX_SIZE). */
export const MAX_CHAIN = 1024;
/** Pairs that `Virtqueue.segments` holds; `pop` stops early while fewer than MAX_CHAIN are free. */
export const SEGMENT_PAIRS = 6144;

/** Bytes of a packed ring's event suppression. */
const EVENT_BYTES = 4;

/** Why a queue is broken; 0 is "not broken". The device then sets DEVICE_NEEDS_RESET. */
export const VQ_OK = 0;
/** avail.idx moved by more than the queue's size. */
export const VQ_BAD_AVAIL_IDX = 1;
/** A head or `next` index is not below the table's size. */
export const VQ_BAD_INDEX = 2;
/** More descriptors than the table has, more than MAX_CHAIN buffers, or 4 GiB in all: a loop. */
export const VQ_LOOP = 3;
/** A buffer, table or ring is not wholly inside guest memory, or a ring is misaligned. */
export const VQ_BAD_ADDRESS = 4;
/** A descriptor of length zero. */
export const VQ_ZERO_LENGTH = 5;
/** A device-readable descriptor after a device-writable one. */
export const VQ_BAD_ORDER = 6;
/** INDIRECT inside an indirect table or a packed list, with NEXT, not negotiated, or of a bad size. */
export const VQ_BAD_INDIRECT = 7;
/** Fewer than 16 device-readable bytes, or no writable byte for the status. */
export const VQ_BAD_HEADER = 8;
/** More chains in flight than the queue has entries, or packed slots taken that are in use. */
export const VQ_TOO_MANY = 9;
/** No ring's: a request that came as a message (iothread/message-relay.ts) is malformed. */
export const VQ_BAD_MESSAGE = 10;

/** For people; index by `Virtqueue.error`. */
export const VQ_ERRORS: readonly string[] = [
  'no error',
  'avail.idx moved by more than the queue size',
  'a descriptor index is outside its table',
  'the descriptor chain loops or is too long',
  'a descriptor or ring lies outside guest memory or is misaligned',
  'a descriptor has length zero',
  'a device-readable descriptor follows a device-writable one',
  'an indirect table is nested, chained, not negotiated or of a bad size',
  'a request has no complete header or no status byte',
  'more chains are in flight than the queue has entries',
  'a request that came as a message is malformed',
];

/** Where a queue lies and what was negotiated (virtio 1.2, 2.7, 2.8). Addresses are guest-physical, bytes. */
export interface VirtqueueConfig {
  /** Entries, 1..32768; of a split queue a power of two. */
  readonly size: number;
  readonly desc: number;
  /** The driver area: avail ring, or the driver's event suppression. */
  readonly avail: number;
  /** The device area: used ring, or the device's event suppression. */
  readonly used: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  /** RING_PACKED was negotiated. Default: a split queue. */
  readonly packed?: boolean;
}

export interface Virtqueue {
  readonly size: number;
  /** Filled by `pop`: `REQUEST_WORDS` words an entry. Valid until the next `pop`. */
  readonly requests: Uint32Array;
  /**
   * Filled by `pop`: pairs (guest address, length in bytes), inside guest memory, none empty,
   * neighbours that touch merged into one. Valid until the next `pop`.
   */
  readonly segments: Uint32Array;
  /** Why the queue is broken, `VQ_*`. A broken queue pops nothing and stays so. */
  readonly error: number;
  /** Chains popped and not yet flushed. */
  readonly inFlight: number;

  /** True when `pop` would find something. Reads one word of guest memory. */
  hasAvailable(): boolean;
  /**
   * Takes up to `max` chains (at most MAX_BATCH) and answers how many; fewer when `segments` is
   * full, so 0 alone means "empty". Each descriptor and header is read once. At a chain that
   * breaks the protocol it stops, sets `error`, and answers those before it. While notifications
   * are on, a caller that pops until 0 misses no kick.
   */
  pop(max: number): number;
  /**
   * Notes a completion, not published until `flush`: `written` bytes went to the chain's writable
   * part (with the status byte), `status` goes to `statusAddr` (REQ_STATUS_ADDR). Once per chain
   * popped; works on a broken queue for the chains popped before.
   */
  push(head: number, written: number, statusAddr: number, status: number): void;
  /** Publishes all completions. Answers true when the driver wants an interrupt for them. */
  flush(): boolean;
  /** Asks the driver to kick again, then looks once more: true when there is work already. */
  enableNotification(): boolean;
  /** Tells the driver that kicks are not needed while the device is at work; some may come. */
  disableNotification(): void;
  /**
   * Ring positions for a saved state: [last avail idx, used idx]; of a packed queue each is a slot
   * with the wrap counter in bit 15. Nothing may be in flight.
   */
  save(): readonly [number, number];
  restore(state: readonly [number, number]): void;
}

/**
 * VQ_OK when the rings of `config` are aligned and lie inside `ramSize` bytes of guest memory,
 * otherwise VQ_BAD_ADDRESS: the queue then starts broken. The event words at a split ring's ends
 * count where EVENT_IDX was negotiated.
 */
export function checkConfig(config: VirtqueueConfig, ramSize: number): number {
  const { size, desc, avail, used, packed = false } = config;
  const events = config.eventIdx ? 2 : 0;
  const sizeFits =
    size >= 1 && size <= VIRTQ_MAX_SIZE && (packed || (size & (size - 1)) === 0) && size % 1 === 0;
  const driver = packed ? EVENT_BYTES : 4 + 2 * size + events;
  const device = packed ? EVENT_BYTES : 4 + 8 * size + events;
  const inside =
    ringInside(desc, 16 * size, 16, ramSize) &&
    ringInside(avail, driver, packed ? 4 : 2, ramSize) &&
    ringInside(used, device, 4, ramSize);
  return sizeFits && inside ? VQ_OK : VQ_BAD_ADDRESS;
}

function ringInside(start: number, bytes: number, align: number, ramSize: number): boolean {
  return start >= 0 && start % align === 0 && start + bytes <= ramSize;
}

/**
 * Whether a side that moved its 16-bit index from `old` to `next` must tell the other, which asked
 * to be told once the index passes `event` (virtio 1.2, 2.7.7 and 2.7.10).
 */
export function needEvent(event: number, next: number, old: number): boolean {
  return ((next - event - 1) & 0xffff) < ((next - old) & 0xffff);
}

/**
 * The same for a packed ring (virtio 1.2, 2.8.10): `event` is the other side's event suppression,
 * off_wrap in the low half and flags in the high half. `next`: the slot that the ring was moved to,
 * `wrap`: its wrap counter, `count`: slots that it was moved by.
 */
export function needPackedEvent(
  event: number,
  next: number,
  wrap: number,
  count: number,
  size: number,
): boolean {
  const flags = (event >>> 16) & 3;
  if (flags !== RING_EVENT_FLAGS_DESC) return flags !== RING_EVENT_FLAGS_DISABLE;
  // A slot of the other lap is one of the lap before.
  const lapsBehind = ((event >>> 15) & 1) === wrap ? 0 : size;
  return ((next - (event & 0x7fff) + lapsBehind - 1) & 0xffff) < count;
}
