// What a device and its driver say to each other where they share no memory: requests one way,
// answers the other, a batch in each message, data in buffers that are transferred. Both sides check
// what they get, as with a ring.

import { MAX_REQUEST_BYTES } from '../virtio/request-driver.ts';
import { SECTOR_SIZE } from '../virtio/spec.ts';

/** What of a MessagePort is used. Closing one end closes both. */
export type DevicePort = Pick<
  MessagePort,
  'postMessage' | 'onmessage' | 'onmessageerror' | 'close'
>;

/** Numbers of one request in `RequestBatch.requests`. */
export const REQUEST_FIELDS = 4;
export const FIELD_SLOT = 0;
/** `VIRTIO_BLK_T_*`; data go to the device where it is odd, come from it otherwise. */
export const FIELD_TYPE = 1;
/** Bytes, whole sectors. */
export const FIELD_OFFSET = 2;
/** Bytes of data, at most MAX_REQUEST_BYTES. */
export const FIELD_BYTES = 3;

/** From the driver. */
export interface RequestBatch {
  readonly requests: Float64Array<ArrayBuffer>;
  /** Of the requests that bring data, in their order. */
  readonly data: readonly ArrayBuffer[];
  readonly writeCache: boolean;
}

/** What a device says of itself; see DeviceChannel. */
export interface DeviceState {
  /** Sectors. */
  readonly capacity: number;
  /** `VQ_*`, or 0. */
  readonly broken: number;
  readonly lastErrno: number;
}

/** From the device. */
export interface AnswerBatch {
  /** Pairs: slot, `VIRTIO_BLK_S_*`. */
  readonly answers: Int32Array<ArrayBuffer>;
  /** Of the requests that asked for data and were served, in their order. */
  readonly data: readonly ArrayBuffer[];
  readonly state: DeviceState;
}

/** Types fit the header's 32 bits; which of them there are is the device's to say. */
const TYPES = 2 ** 32;

/** `message` when it is a batch for a device of `slots` slots; each request in it is well formed. */
export function parseRequestBatch(message: unknown, slots: number): RequestBatch | undefined {
  if (typeof message !== 'object' || message === null) return undefined;
  const { requests, data, writeCache } = message as Partial<Record<keyof RequestBatch, unknown>>;
  if (!(requests instanceof Float64Array) || requests.length % REQUEST_FIELDS !== 0)
    return undefined;
  if (!Array.isArray(data) || typeof writeCache !== 'boolean') return undefined;
  let buffers = 0;
  for (let at = 0; at < requests.length; at += REQUEST_FIELDS) {
    const type = requests[at + FIELD_TYPE]!;
    const bytes = requests[at + FIELD_BYTES]!;
    const offset = requests[at + FIELD_OFFSET]!;
    const fits =
      isIndex(requests[at + FIELD_SLOT]!, slots) &&
      isIndex(type, TYPES) &&
      isIndex(bytes, MAX_REQUEST_BYTES + 1) &&
      offset >= 0 &&
      offset % SECTOR_SIZE === 0;
    if (!fits) return undefined;
    if (bytes === 0 || (type & 1) === 0) continue;
    const buffer: unknown = data[buffers];
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== bytes) return undefined;
    buffers += 1;
  }
  return buffers === data.length ? (message as RequestBatch) : undefined;
}

/** A whole number below `limit`. */
function isIndex(value: number, limit: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < limit;
}
