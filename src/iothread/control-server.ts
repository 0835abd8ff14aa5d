// The control calls, on the IOThread: QMP's commands over a graph and its devices. Throws
// BlockErrors, which survive the hop; everything else is a bug and arrives as a plain Error. What few
// sessions call is in `seldom-calls.ts`.

import type { WorkerContext } from '../aio/worker-context.ts';
import type { Ret } from '../base/ret.ts';
import type { CheckResult } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import { Graph } from '../block/graph.ts';
import { openGraph } from '../block/open.ts';
import { nodeInfo } from '../block/query.ts';
import type {
  BackingPolicy,
  BlockNodeInfo,
  BlockdevOptions,
  DeviceOptions,
  DeviceSetup,
  IOThreadControl,
  IOThreadEvent,
  MapEntry,
  PortDeviceOptions,
  SeldomCall,
  WorkerMessage,
} from './control.ts';
import type { DeviceState } from './device-messages.ts';
import { DeviceTable } from './device-table.ts';
import { JobTable } from './job-table.ts';
import type { BegunJob } from './job-table.ts';
import type { SeldomCalls } from './seldom-calls.ts';

export class ControlServer implements Omit<IOThreadControl, 'init' | SeldomCall> {
  readonly context: WorkerContext;
  readonly graph: Graph;
  readonly devices: DeviceTable;
  readonly #post: (message: WorkerMessage) => void;
  readonly #jobs: JobTable;
  #seldom: SeldomCalls | undefined;

  constructor(
    context: WorkerContext,
    doorbell: Int32Array,
    post: (message: WorkerMessage) => void,
    autoPrefix: string,
  ) {
    this.context = context;
    this.#post = post;
    this.graph = new Graph(context, autoPrefix);
    this.#jobs = new JobTable(context, post);
    this.devices = new DeviceTable(context, doorbell, this.graph, post);
  }

  /** The calls that are not here. */
  async seldomCalls(): Promise<SeldomCalls> {
    const { SeldomCalls } = await import('./seldom-calls.ts');
    this.#seldom ??= new SeldomCalls(this);
    return this.#seldom;
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
      const root = await openGraph(this.graph, options, {
        ...extra,
        signal,
        onNotice: (nodeName, message) => this.event({ event: 'NOTICE', nodeName, message }),
      });
      return root.name;
    });
  }

  async blockdevDel(nodeName: string): Promise<void> {
    await this.graph.blockdevDel(nodeName);
  }

  blockdevCreate(job: number, options: BlockdevOptions): Promise<void> {
    return this.#jobs.run(job, async ({ signal }) => {
      const { createImage } = await import('../block/create.ts');
      await createImage(this.graph, options, { signal });
    });
  }

  blockCheck(job: number, nodeName: string, fix: 'none' | 'leaks' | 'all'): Promise<CheckResult> {
    return this.#jobs.run(job, async ({ pace }) => this.graph.get(nodeName).check(fix, pace));
  }

  blockMap(
    id: number,
    nodeName: string,
    offset: number,
    bytes: number | undefined,
  ): Promise<readonly MapEntry[]> {
    return this.#jobs.run(id, async (job) => {
      const { mapDisk } = await import('../block/jobs/map.ts');
      const source = this.graph.newBackend({ name: job.id, nodeName, readOnly: true });
      try {
        return await mapDisk(source, offset, bytes ?? Math.max(source.length - offset, 0), job);
      } finally {
        await this.graph.dropBackend(source);
      }
    });
  }

  blockReset(job: number, nodeName: string): Promise<void> {
    return this.#jobs.run(job, async ({ signal }) => this.graph.get(nodeName).makeEmpty(signal));
  }

  blockConvert(id: number, nodeName: string, target: BlockdevOptions): Promise<void> {
    return this.#jobs.run(id, async (job) => {
      const { convertDisk } = await import('../block/jobs/convert.ts');
      await convertDisk(this.graph, nodeName, target, job);
    });
  }

  async blockFlush(nodeName: string): Promise<void> {
    expectOk(await this.graph.get(nodeName).flush(), `flush of '${nodeName}'`, nodeName);
  }

  async deviceAdd(options: DeviceOptions): Promise<DeviceSetup> {
    return this.devices.add(options);
  }

  async portDeviceAdd(options: PortDeviceOptions, port: MessagePort): Promise<DeviceState> {
    return this.devices.addPort(options, port);
  }

  async deviceDel(id: string): Promise<void> {
    await this.devices.del(id);
  }

  async queryBlock(): Promise<readonly BlockNodeInfo[]> {
    return this.graph.nodes.map(nodeInfo);
  }

  exportBegin(id: number, nodeName: string, format: string): Promise<number> {
    return this.#begin(id, ({ exports }, begun) => exports.begin(id, begun, nodeName, format));
  }

  importBlob(id: number, blob: Blob, target: BlockdevOptions): Promise<void> {
    return this.#jobs.run(id, async (job) => {
      const { importBlob } = await import('../block/jobs/import.ts');
      await importBlob(this.graph, blob, target, job);
    });
  }
  importBegin(id: number, target: BlockdevOptions, size: number | undefined): Promise<void> {
    return this.#begin(id, ({ imports }, begun) => imports.begin(id, begun, target, size));
  }

  async quit(): Promise<void> {
    await this.#jobs.cancelAll();
    for (const id of this.devices.ids) await this.devices.del(id);
    await this.graph.closeAll();
    this.context.stop();
  }

  /** Begins job `id`, which lasts for more calls than this, and then what it does. */
  async #begin<T>(
    id: number,
    body: (calls: SeldomCalls, begun: BegunJob) => Promise<T>,
  ): Promise<T> {
    const begun = this.#jobs.begin(id);
    try {
      return await body(await this.seldomCalls(), begun);
    } catch (error) {
      begun.end();
      throw error;
    }
  }

  event(event: IOThreadEvent): void {
    this.#post({ diskplane: 'event', event });
  }
}

/** Throws what a failure stands for. */
export function expectOk(ret: Ret, what: string, node: string): void {
  if (ret < 0) throw BlockError.fromRet(ret, what, node);
}
