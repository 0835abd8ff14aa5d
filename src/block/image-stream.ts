// How a format is written once, from its first byte to its last, with nothing stored on the way: what
// of the disk holds data must be known before, and must still be so when its turn comes.

import type { ClusterSet } from './cluster-set.ts';

/** Bytes of the image: these, or a range of the disk's, with zeroes past the disk's end. */
export type StreamPart =
  | { readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly offset: number; readonly length: number };

/** An image that was laid out. */
export interface StreamPlan {
  /** Of the image, bytes. */
  readonly length: number;
  /** All of it, in order. Lazy: parts are made when their turn comes. */
  parts(): Iterable<StreamPart>;
}

/** What a driver offers whose format can be streamed. */
export interface ImageStreamer {
  /**
   * Data are stored in units of this many bytes, and units that read as zeroes are left out; undefined
   * where everything is stored, so that nobody need look.
   */
  readonly clusters?: {
    readonly bytes: number;
    /** Clusters in a group of the set that `plan` wants. */
    readonly perGroup: number;
  };
  /** Lays out an image of a disk of `size` bytes with `data` in it. Throws BlockError. */
  plan(size: number, data: ClusterSet): StreamPlan;
}
