// The requests under way on a node, and who has to wait for whom (QEMU's BdrvTrackedRequest). A
// serialising request (a read-modify-write, a resize) and an overlapping other one never run at the
// same time. Everybody waits only for requests that came before, so waiting cannot go in a circle.

import { CoQueue } from '../aio/co-queue.ts';

/** One request under way, or waiting for its turn. */
export interface TrackedRequest {
  /** Start of the range it touches, padding included, bytes. */
  readonly offset: number;
  /** Length of that range; 0 overlaps nothing. */
  readonly bytes: number;
  readonly serialising: boolean;
  /** Overlaps every other request, whatever its range. */
  readonly exclusive: boolean;
  /** Those who wait for its end; made when somebody does. */
  waiters: CoQueue | undefined;
}

export class TrackedRequests {
  /** How many are serialising. While 0, a request that is answered at once need not be entered. */
  serialising = 0;
  // In the order they came.
  readonly #requests = new Set<TrackedRequest>();

  get size(): number {
    return this.#requests.size;
  }

  /** Enters a request. Each `begin` has its `end`. */
  begin(offset: number, bytes: number, serialising: boolean): TrackedRequest {
    return this.#enter({ offset, bytes, serialising, exclusive: false, waiters: undefined });
  }

  /** Enters a request that runs alone on the node. */
  beginExclusive(): TrackedRequest {
    return this.#enter({
      offset: 0, bytes: 0, serialising: true, exclusive: true, waiters: undefined,
    }); // prettier-ignore
  }

  /** Takes `request` out and wakes those who wait for it. */
  end(request: TrackedRequest): void {
    this.#requests.delete(request);
    if (request.serialising) this.serialising -= 1;
    request.waiters?.all();
  }

  /** True when an earlier request is in the way of `request`. */
  mustWait(request: TrackedRequest): boolean {
    return this.#obstacle(request) !== undefined;
  }

  /** Resolves when no earlier request is in the way of `request` any more. */
  async turn(request: TrackedRequest): Promise<void> {
    for (;;) {
      const obstacle = this.#obstacle(request);
      if (obstacle === undefined) return;
      await (obstacle.waiters ??= new CoQueue()).wait();
    }
  }

  #enter(request: TrackedRequest): TrackedRequest {
    this.#requests.add(request);
    if (request.serialising) this.serialising += 1;
    return request;
  }

  /** The last of the earlier requests in the way: mostly the others are over when it is. */
  #obstacle(request: TrackedRequest): TrackedRequest | undefined {
    if (this.serialising === 0) return undefined;
    let last: TrackedRequest | undefined;
    for (const earlier of this.#requests) {
      if (earlier === request) break;
      if ((earlier.serialising || request.serialising) && overlap(earlier, request)) last = earlier;
    }
    return last;
  }
}

function overlap(a: TrackedRequest, b: TrackedRequest): boolean {
  if (a.exclusive || b.exclusive) return true;
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}
