// What a node or a backend counts (QMP's query-blockstats). Plain number fields, so that the hot
// path adds to them without allocating; a copy of them goes to whoever asks.

/** What a request does, for the accounts. */
export type RequestKind = 'rd' | 'wr' | 'zero' | 'unmap' | 'flush' | 'truncate' | 'status';

export class BlockStats {
  rdOperations = 0;
  rdBytes = 0;
  wrOperations = 0;
  wrBytes = 0;
  /** Zero writes; their bytes are not in `wrBytes`. */
  zeroOperations = 0;
  zeroBytes = 0;
  /** Discards. */
  unmapOperations = 0;
  unmapBytes = 0;
  flushOperations = 0;
  failedRdOperations = 0;
  failedWrOperations = 0;
  failedZeroOperations = 0;
  failedUnmapOperations = 0;
  failedFlushOperations = 0;
  /** Requests refused before they reached the driver: out of range, read-only, revoked memory. */
  invalidOperations = 0;
  /** Requests answered with a number. */
  answeredSync = 0;
  /** Requests answered with a promise. */
  promises = 0;
  /** Promises not settled yet. */
  inFlight = 0;

  /** Enters a request that is over. Bytes count only where it succeeded. */
  account(kind: RequestKind, bytes: number, ok: boolean): void {
    const moved = ok ? bytes : 0;
    const failed = ok ? 0 : 1;
    switch (kind) {
      case 'rd':
        this.rdOperations += 1;
        this.rdBytes += moved;
        this.failedRdOperations += failed;
        break;
      case 'wr':
        this.wrOperations += 1;
        this.wrBytes += moved;
        this.failedWrOperations += failed;
        break;
      case 'zero':
        this.zeroOperations += 1;
        this.zeroBytes += moved;
        this.failedZeroOperations += failed;
        break;
      case 'unmap':
        this.unmapOperations += 1;
        this.unmapBytes += moved;
        this.failedUnmapOperations += failed;
        break;
      case 'flush':
        this.flushOperations += 1;
        this.failedFlushOperations += failed;
        break;
      case 'truncate':
      case 'status':
        break;
    }
  }

  /** Goes on from a `snapshot` taken in another thread. */
  restore(counts: Readonly<Record<string, number>>): void {
    Object.assign(this, counts);
    this.inFlight = 0;
  }

  /** A copy that can be sent to another thread. */
  snapshot(): Record<string, number> {
    return Object.fromEntries(Object.entries(this) as [string, number][]);
  }
}
