// The control calls, on the IOThread: QMP's commands over a graph and its devices. Throws
// BlockErrors, which survive the hop; everything else is a bug and arrives as a plain Error. What few
// sessions call is in `seldom-calls.ts` and `job-bodies.ts`.

import type { WorkerContext } from '../aio/worker-context.ts';
import { Graph } from '../block/graph.ts';
import { openGraph } from '../block/open.ts';
import type {
  BlockdevOptions,
  DeviceOptions,
  DeviceSetup,
  IOThreadControl,
  IOThreadEvent,
  JobCall,
  OpenExtra,
  OpenedNode,
  PortDeviceOptions,
  SeldomCall,
  WorkerMessage,
} from './control.ts';
import type { DeviceState } from './device-messages.ts';
import { DeviceTable } from './device-table.ts';
import { JobTable } from './job-table.ts';
import type { SeldomCalls } from './seldom-calls.ts';

export class ControlServer implements Omit<IOThreadControl, 'init' | SeldomCall | JobCall> {
  readonly context: WorkerContext;
  readonly graph: Graph;
  readonly devices: DeviceTable;
  readonly #post: (message: WorkerMessage) => void;
  readonly jobs: JobTable;
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
    this.jobs = new JobTable(post);
    this.devices = new DeviceTable(context, doorbell, this.graph, post);
  }

  /** The calls that are not here. */
  async seldomCalls(): Promise<SeldomCalls> {
    const { SeldomCalls } = await import('./seldom-calls.ts');
    this.#seldom ??= new SeldomCalls(this);
    return this.#seldom;
  }

  async jobBegin(job: number): Promise<void> {
    this.jobs.begin(job);
  }

  async jobCancel(job: number): Promise<void> {
    this.jobs.cancel(job);
  }

  async blockdevAdd(
    job: number,
    options: BlockdevOptions | string,
    extra: OpenExtra,
  ): Promise<OpenedNode> {
    const { signal, end } = this.jobs.begin(job);
    try {
      const { name, readOnly } = await openGraph(this.graph, options, {
        ...extra,
        signal,
        onNotice: (nodeName, message) => this.event({ event: 'NOTICE', nodeName, message }),
      });
      return { nodeName: name, readOnly };
    } finally {
      end();
    }
  }

  async blockdevDel(nodeName: string): Promise<void> {
    await this.graph.blockdevDel(nodeName);
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

  async quit(): Promise<void> {
    await this.jobs.cancelAll();
    for (const id of this.devices.ids) await this.devices.del(id);
    await this.graph.closeAll();
    this.context.stop();
  }

  event(event: IOThreadEvent): void {
    this.#post({ diskplane: 'event', event });
  }
}
