// Whether memory is shared with other threads. A page that is not cross-origin isolated has no
// SharedArrayBuffer to ask with.

/** True for memory that other threads see. */
export function isShared(buffer: ArrayBufferLike): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && buffer instanceof SharedArrayBuffer;
}
