// Reads a disk as an image of some format, from the first byte of that image to the last, a chunk for
// each call: nothing is stored on the way. A disk that is written to meanwhile makes the export fail.

import { IOVector } from '../../base/io-vector.ts';
import type { MaybeRet, Ret } from '../../base/ret.ts';
import type { BlockBackend } from '../block-backend.ts';
import { BlockError } from '../block-error.ts';
import { ClusterSet } from '../cluster-set.ts';
import type { Graph } from '../graph.ts';
import type { StreamPart, StreamPlan } from '../image-stream.ts';
import { driverNames, loadDriver } from '../registry.ts';
import { findData } from './find-data.ts';
import type { Job } from './job.ts';
import { WriteWatch } from './write-watch.ts';

/** Answered by one call at most, bytes. */
export const EXPORT_CHUNK: number = 1024 * 1024;

interface ExportParts {
  readonly graph: Graph;
  readonly source: BlockBackend;
  readonly watch: WriteWatch;
  readonly plan: StreamPlan;
  readonly job: Job;
}

export class ImageExport {
  /** Of the image, bytes. */
  readonly length: number;
  readonly #parts: ExportParts;
  readonly #iterator: Iterator<StreamPart>;
  #part: StreamPart | undefined;
  /** Bytes of the part, and of the image, that were answered. */
  #taken = 0;
  #done = 0;
  #closed = false;

  /**
   * Begins to export node `nodeName`: looks where it holds data, as far as `format` leaves out what is
   * zero. `job` lasts as long as the export. Throws BlockError.
   */
  static async begin(
    graph: Graph,
    nodeName: string,
    format: string,
    job: Job,
  ): Promise<ImageExport> {
    const known = driverNames('format').includes(format);
    const streamer = known ? await (await loadDriver(format)).streamer?.() : undefined;
    if (streamer === undefined) {
      throw new BlockError('ENOTSUP', `format '${format}' cannot be streamed (raw and qcow2 can)`);
    }
    const source = graph.newBackend({ name: job.id, nodeName, readOnly: true });
    try {
      const watch = await WriteWatch.begin(source, job);
      const { clusters } = streamer;
      const data = new ClusterSet(clusters?.perGroup ?? 32);
      if (clusters !== undefined) await findData(source, clusters.bytes, data, job);
      const plan = streamer.plan(source.length, data);
      return new ImageExport({ graph, source, watch, plan, job });
    } catch (error) {
      await graph.dropBackend(source);
      throw error;
    }
  }

  private constructor(parts: ExportParts) {
    this.#parts = parts;
    this.length = parts.plan.length;
    this.#iterator = parts.plan.parts()[Symbol.iterator]();
  }

  /**
   * The next bytes, at most EXPORT_CHUNK; undefined when there are no more. One call at a time. Throws
   * BlockError, ESTALE when the disk was written to, or the job's `signal.reason`.
   */
  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { watch, job, source } = this.#parts;
    if (this.#done === this.length) return undefined;
    const chunk = new Uint8Array(Math.min(EXPORT_CHUNK, this.length - this.#done));
    const pending: Promise<Ret>[] = [];
    let ret: Ret = 0;
    for (let at = 0; at < chunk.length;) {
      const [bytes, read] = this.#take(chunk.subarray(at));
      if (typeof read === 'number') ret = Math.min(ret, read);
      else pending.push(read);
      at += bytes;
    }
    if (pending.length > 0) ret = Math.min(ret, ...(await job.wait(Promise.all(pending))));
    const node = source.root?.name ?? source.name;
    if (ret < 0) throw BlockError.fromRet(ret, `reading '${node}' for an export`, node);
    this.#done += chunk.length;
    const last = this.#done === this.length;
    // Whoever has the last bytes has an image of one moment.
    if (last) await watch.end();
    else watch.check();
    if (last) job.finished(this.length);
    else job.progress(this.#done, this.length);
    return chunk;
  }

  /** Lets go of the disk, at once. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#parts.graph.dropBackend(this.#parts.source);
  }

  /** Fills as much of `room` as the present part has. Answers how much that is. */
  #take(room: Uint8Array<ArrayBuffer>): [bytes: number, ret: MaybeRet] {
    this.#part ??= this.#iterator.next().value as StreamPart;
    const part = this.#part;
    const from = this.#taken;
    const length = 'bytes' in part ? part.bytes.length : part.length;
    const bytes = Math.min(room.length, length - from);
    this.#taken += bytes;
    if (this.#taken === length) {
      this.#part = undefined;
      this.#taken = 0;
    }
    if ('bytes' in part) {
      room.set(part.bytes.subarray(from, from + bytes));
      return [bytes, 0];
    }
    const { source } = this.#parts;
    const offset = part.offset + from;
    const there = Math.max(Math.min(bytes, source.length - offset), 0);
    return [bytes, source.preadv(offset, IOVector.of(room.subarray(0, there)))];
  }
}
