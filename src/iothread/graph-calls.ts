// What a page asks of a thread's graph in one call each, with a short answer: the plain half of an
// IOThread. Devices, moves and jobs are in `iothread.ts`.

import type { Remote } from 'comlink';
import type {
  BlockNodeInfo,
  BlockNodeStats,
  BlockdevOptions,
  IOThreadControl,
  IOThreadStats,
} from './control.ts';
import type { PollOptions } from './poll-options.ts';

export abstract class GraphCalls {
  /** @internal Ends when the thread does, too, or when `signal` aborts. */
  protected abstract call<T>(
    start: (control: Remote<IOThreadControl>) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T>;

  /** Closes a node that `blockdevAdd` opened, and what only it used. EBUSY while something uses it. */
  blockdevDel(nodeName: string): Promise<void> {
    return this.call((control) => control.blockdevDel(nodeName));
  }
  /** Changes a node's length, bytes, a multiple of 512; what is new reads as zeroes. */
  blockResize(nodeName: string, length: number, signal?: AbortSignal): Promise<void> {
    return this.call((control) => control.blockResize(nodeName, length), signal);
  }
  /** Resolves when what was written to a node before is on stable storage. */
  blockFlush(nodeName: string): Promise<void> {
    return this.call((control) => control.blockFlush(nodeName));
  }
  /**
   * Makes all that was written to any disk of this thread durable. One that fails keeps none of the others
   * from it. Also done by itself when the page is hidden or frozen.
   */
  flushAll(): Promise<void> {
    return this.call((control) => control.blockFlushAll());
  }
  /** Resolves when every request that is under way is over; those made meanwhile wait. */
  drainAll(): Promise<void> {
    return this.call((control) => control.blockDrainAll());
  }
  /**
   * Flushes all images of this thread and lets go of them and their locks: another tab, or the one that a
   * machine goes to with its saved state, may open them. Nodes and devices stay, and requests fail with EPERM
   * until `activateAll`. Throws BlockError, and then nothing has changed: EBUSY while a job runs.
   */
  inactivateAll(): Promise<void> {
    return this.call((control) => control.blockInactivateAll());
  }
  /**
   * Opens what `inactivateAll` let go of. Throws BlockError, and then all of it is inactive as before: EBUSY
   * where somebody else has an image open.
   */
  activateAll(): Promise<void> {
    return this.call((control) => control.blockActivateAll());
  }
  /**
   * Reopens nodes, each named by `node-name`, with other options: all of them or, when one refuses or fails,
   * none (blockdev-reopen). What is left out stays as it is. `read-only`, `cache`, `discard`, `detect-zeroes`,
   * what a driver can change (cache sizes, read-ahead, timeouts), and `file` and `backing`, which take the
   * name of another node; `backing: null` detaches it. Users stay, and their requests wait.
   */
  blockdevReopen(requests: readonly BlockdevOptions[]): Promise<void> {
    return this.call((control) => control.blockdevReopen(requests));
  }
  /** Which version of its contents a node has; see `Disk.generation`. */
  blockGeneration(nodeName: string, signal?: AbortSignal): Promise<string> {
    return this.call((control) => control.blockGeneration(nodeName), signal);
  }
  /** All nodes of the thread, as they are now (query-named-block-nodes). */
  queryBlock(signal?: AbortSignal): Promise<readonly BlockNodeInfo[]> {
    return this.call((control) => control.queryBlock(), signal);
  }
  /** Their running counts. */
  queryBlockstats(signal?: AbortSignal): Promise<readonly BlockNodeStats[]> {
    return this.call((control) => control.queryBlockstats(), signal);
  }
  /**
   * Times every request of every node from now on (`BlockNodeStats.latency`), or none, as at first:
   * two looks at the clock cost more than a request that is answered at once.
   */
  blockLatencyHistogramSet(on: boolean): Promise<void> {
    return this.call((control) => control.blockLatencyHistogramSet(on));
  }
  /** The running counts of its loop and of the devices that it serves. */
  queryIothread(): Promise<IOThreadStats> {
    return this.call((control) => control.queryIothread());
  }
  /** Changes how the loop busy-waits, from its next wait on; what is left out stays. */
  setPoll(options: PollOptions): Promise<void> {
    return this.call((control) => control.setPoll(options));
  }
}
