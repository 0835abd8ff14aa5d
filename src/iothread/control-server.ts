// The control calls, on the IOThread: QMP's commands over a graph and its devices. Throws
// BlockErrors, which survive the hop; everything else is a bug and arrives as a plain Error.

import { transfer } from 'comlink';
import type { WorkerContext } from '../aio/worker-context.ts';
import type { Ret } from '../base/ret.ts';
import type { CheckResult } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import { Graph } from '../block/graph.ts';
import type { MovedGraph } from '../block/move.ts';
import { openGraph } from '../block/open.ts';
import type {
  BackingPolicy,
  BlockNodeInfo,
  BlockNodeStats,
  BlockdevOptions,
  DeviceOptions,
  DeviceSetup,
  IOThreadControl,
  IOThreadEvent,
  IOThreadStats,
  MapEntry,
  MovingNode,
  PortDeviceOptions,
  WorkerMessage,
} from './control.ts';
import type { DeviceState } from './device-messages.ts';
import { DeviceTable } from './device-table.ts';
import type { MovedDevice, MovedPortDevice } from './device-table.ts';
import { ExportTable } from './export-table.ts';
import { ImportTable } from './import-table.ts';
import { JobTable } from './job-table.ts';
import { parsePollOptions } from './poll-options.ts';
import type { PollOptions } from './poll-options.ts';

export class ControlServer implements Omit<IOThreadControl, 'init'> {
  readonly #context: WorkerContext;
  readonly #post: (message: WorkerMessage) => void;
  readonly #graph: Graph;
  readonly #jobs: JobTable;
  readonly #exports: ExportTable;
  readonly #imports: ImportTable;
  readonly #devices: DeviceTable;
  /** A graph that could not be attached, for the page to bring back to where it was. */
  #comingBack: MovedGraph | undefined;

  constructor(
    context: WorkerContext,
    doorbell: Int32Array,
    post: (message: WorkerMessage) => void,
    autoPrefix: string,
  ) {
    this.#context = context;
    this.#post = post;
    this.#graph = new Graph(context, autoPrefix);
    this.#jobs = new JobTable(context, post);
    this.#exports = new ExportTable(this.#graph, this.#jobs);
    this.#imports = new ImportTable(this.#graph, this.#jobs);
    this.#devices = new DeviceTable(context, doorbell, this.#graph, post);
  }

  async jobCancel(job: number): Promise<void> {
    this.#jobs.cancel(job);
  }

  blockdevAdd(
    job: number,
    options: BlockdevOptions | string,
    extra: { readonly policy?: BackingPolicy; readonly readOnly?: boolean },
  ): Promise<string> {
    return this.#jobs.run(job, async ({ signal }) => {
      const root = await openGraph(this.#graph, options, {
        ...extra,
        signal,
        onNotice: (nodeName, message) => this.#event({ event: 'NOTICE', nodeName, message }),
      });
      return root.name;
    });
  }

  async blockdevDel(nodeName: string): Promise<void> {
    await this.#graph.blockdevDel(nodeName);
  }

  blockdevCreate(job: number, options: BlockdevOptions): Promise<void> {
    return this.#jobs.run(job, async ({ signal }) => {
      const { createImage } = await import('../block/create.ts');
      await createImage(this.#graph, options, { signal });
    });
  }

  async blockResize(nodeName: string, length: number): Promise<void> {
    if (!Number.isSafeInteger(length) || length < 0 || length % 512 !== 0) {
      throw new BlockError('EINVAL', `a disk cannot be ${length} bytes long: not whole sectors`);
    }
    const node = this.#graph.get(nodeName);
    expectOk(await node.truncate(length), `resize of '${nodeName}' to ${length} bytes`, nodeName);
    this.#event({ event: 'BLOCK_RESIZE', nodeName, length });
  }

  blockCheck(job: number, nodeName: string, fix: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    return this.#jobs.run(job, async ({ pace }) => this.#graph.get(nodeName).check(fix, pace));
  }

  blockMap(
    id: number,
    nodeName: string,
    offset: number,
    bytes: number | undefined,
  ): Promise<readonly MapEntry[]> {
    return this.#jobs.run(id, async (job) => {
      const { mapDisk } = await import('../block/jobs/map.ts');
      const source = this.#graph.newBackend({ name: job.id, nodeName, readOnly: true });
      try {
        return await mapDisk(source, offset, bytes ?? Math.max(source.length - offset, 0), job);
      } finally {
        await this.#graph.dropBackend(source);
      }
    });
  }

  blockReset(job: number, nodeName: string): Promise<void> {
    return this.#jobs.run(job, async ({ signal }) => this.#graph.get(nodeName).makeEmpty(signal));
  }

  blockConvert(id: number, nodeName: string, target: BlockdevOptions): Promise<void> {
    return this.#jobs.run(id, async (job) => {
      const { convertDisk } = await import('../block/jobs/convert.ts');
      await convertDisk(this.#graph, nodeName, target, job);
    });
  }

  async blockFlush(nodeName: string): Promise<void> {
    expectOk(await this.#graph.get(nodeName).flush(), `flush of '${nodeName}'`, nodeName);
  }

  async blockGeneration(nodeName: string): Promise<string> {
    return this.#graph.get(nodeName).generation();
  }

  async deviceAdd(options: DeviceOptions): Promise<DeviceSetup> {
    return this.#devices.add(options);
  }

  async portDeviceAdd(options: PortDeviceOptions, port: MessagePort): Promise<DeviceState> {
    return this.#devices.addPort(options, port);
  }

  async deviceDel(id: string): Promise<void> {
    await this.#devices.del(id);
  }

  async blockdevPlanMove(nodeName: string): Promise<readonly MovingNode[]> {
    const { planMove } = await import('../block/move.ts');
    const { nodes } = planMove(this.#graph, this.#graph.get(nodeName));
    return nodes.map(({ name, driver }) => ({ nodeName: name, driver }));
  }

  async blockdevPrepareAttach(nodes: readonly MovingNode[]): Promise<void> {
    const { prepareAttach } = await import('../block/move.ts');
    await prepareAttach(this.#graph, nodes);
    await this.#devices.prepare();
  }

  async blockdevDetach(nodeName: string): Promise<MovedGraph> {
    const { detachGraph } = await import('../block/move.ts');
    return handOver(await detachGraph(this.#graph, nodeName));
  }

  async blockdevAttach(moved: MovedGraph): Promise<void> {
    const { attachGraph } = await import('../block/move.ts');
    const failure = await attachGraph(this.#graph, moved, {
      adopt: (backend, user) => this.#devices.adopt(backend, user as MovedDevice | MovedPortDevice),
      onNotice: (nodeName, message) => this.#event({ event: 'NOTICE', nodeName, message }),
    });
    if (failure === undefined) return;
    this.#comingBack = failure.moved;
    throw failure.error;
  }

  async blockdevTakeBack(): Promise<MovedGraph> {
    const moved = this.#comingBack;
    if (moved === undefined) throw new BlockError('ENOENT', 'no graph failed to be attached here');
    this.#comingBack = undefined;
    return handOver(moved);
  }

  async queryBlock(): Promise<readonly BlockNodeInfo[]> {
    return this.#graph.queryBlock();
  }

  async queryBlockstats(): Promise<readonly BlockNodeStats[]> {
    return this.#graph.queryBlockstats();
  }

  async blockLatencyHistogramSet(on: boolean): Promise<void> {
    this.#graph.setTiming(on);
  }

  exportBegin(job: number, nodeName: string, format: string): Promise<number> {
    return this.#exports.begin(job, nodeName, format);
  }
  exportNext(job: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#exports.next(job);
  }
  exportEnd(job: number): Promise<void> {
    return this.#exports.end(job);
  }

  importBlob(id: number, blob: Blob, target: BlockdevOptions): Promise<void> {
    return this.#jobs.run(id, async (job) => {
      const { importBlob } = await import('../block/jobs/import.ts');
      await importBlob(this.#graph, blob, target, job);
    });
  }
  importBegin(job: number, target: BlockdevOptions, size: number | undefined): Promise<void> {
    return this.#imports.begin(job, target, size);
  }
  importWrite(job: number, bytes: Uint8Array): Promise<void> {
    return this.#imports.write(job, bytes);
  }
  importEnd(job: number): Promise<void> {
    return this.#imports.end(job);
  }

  async queryIothread(): Promise<IOThreadStats> {
    const { settings, ns } = this.#context.pollPolicy;
    return {
      pollMaxNs: settings.maxNs,
      pollGrow: settings.grow,
      pollShrink: settings.shrink,
      pollNs: ns,
      loop: { ...this.#context.counters },
      devices: this.#devices.stats(),
    };
  }

  async setPoll(options: PollOptions): Promise<void> {
    const { pollPolicy } = this.#context;
    pollPolicy.settings = parsePollOptions(options, pollPolicy.settings);
  }

  async quit(): Promise<void> {
    await this.#jobs.cancelAll();
    for (const id of this.#devices.ids) await this.#devices.del(id);
    await this.#graph.closeAll();
    this.#context.stop();
  }

  #event(event: IOThreadEvent): void {
    this.#post({ diskplane: 'event', event });
  }
}

/** Sends buffers that a disk in memory consists of along instead of copying them. */
function handOver(moved: MovedGraph): MovedGraph {
  return transfer(moved, [...moved.transfer]);
}

function expectOk(ret: Ret, what: string, node: string): void {
  if (ret < 0) throw BlockError.fromRet(ret, what, node);
}
