// Control calls that few sessions make: in a file of their own, so that the others need not load it.
// Those that are jobs are in `job-bodies.ts`.

import type { MaybeRet, Ret } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import { whileAllDrained } from '../block/drain.ts';
import { flushGraph } from '../block/flush-all.ts';
import { movingNode, planMove } from '../block/move.ts';
import { attachGraph, prepareAttach } from '../block/move-attach.ts';
import type { MovedGraph, MovingNode } from '../block/move.ts';
import { PERM_ALL, PERM_RESIZE } from '../block/permissions.ts';
import { shareGraph } from '../block/share.ts';
import { nodeInfo } from '../block/query.ts';
import type { BlockNodeInfo } from '../block/query.ts';
import { nodeStats } from '../block/query-stats.ts';
import type { BlockNodeStats } from '../block/query-stats.ts';
import type {
  BlockdevOptions,
  GraphSent,
  IOThreadControl,
  IOThreadStats,
  MovePlan,
  MovingDevices,
  SeldomCall,
} from './control.ts';
import type { ControlServer } from './control-server.ts';
import { ArrivingDevices } from './arriving-devices.ts';
import { GraphReceiver } from './graph-receiver.ts';
import { GraphSender } from './graph-sender.ts';
import { JobBodies } from './job-bodies.ts';
import { parsePollOptions } from './poll-options.ts';
import type { PollOptions } from './poll-options.ts';

export class SeldomCalls implements Pick<IOThreadControl, SeldomCall> {
  readonly jobs: JobBodies;
  readonly #server: ControlServer;
  readonly #arriving: ArrivingDevices;
  /** Moves from and to this thread, by their numbers. */
  readonly #sending = new Map<number, GraphSender>();
  readonly #receiving = new Map<number, GraphReceiver>();

  constructor(server: ControlServer) {
    this.#server = server;
    this.#arriving = new ArrivingDevices(server.devices);
    this.jobs = new JobBodies(server.graph, server.jobs);
  }

  async blockResize(nodeName: string, length: number): Promise<void> {
    if (!Number.isSafeInteger(length) || length < 0 || length % 512 !== 0) {
      throw new BlockError('EINVAL', `a disk cannot be ${length} bytes long: not whole sectors`);
    }
    const { graph } = this.#server;
    const permissions = { perm: PERM_RESIZE, shared: PERM_ALL };
    const backend = graph.newBackend({ name: `resize:${nodeName}`, nodeName, permissions });
    try {
      const ret = await graph.get(nodeName).truncate(length);
      expectOk(ret, `resize of '${nodeName}' to ${length} bytes`, nodeName);
    } finally {
      await graph.dropBackend(backend);
    }
    this.#server.event({ event: 'BLOCK_RESIZE', nodeName, length });
  }

  async blockFlush(nodeName: string): Promise<void> {
    const { graph } = this.#server;
    const flush = (): MaybeRet => graph.get(nodeName).flush();
    // What moves, or is reopened, is left alone meanwhile.
    const moving = graph.isMoving(graph.get(nodeName));
    const ret = await (moving ? graph.changes.withLock(flush) : flush());
    expectOk(ret, `flush of '${nodeName}'`, nodeName);
  }

  async blockFlushAll(): Promise<void> {
    await flushGraph(this.#server.graph);
  }

  async blockDrainAll(): Promise<void> {
    await whileAllDrained(this.#server.graph, async () => {});
  }

  async blockdevReopen(requests: readonly BlockdevOptions[]): Promise<void> {
    const { reopenNodes } = await import('../block/reopen.ts');
    await reopenNodes(this.#server.graph, requests, (nodeName, message) =>
      this.#server.event({ event: 'NOTICE', nodeName, message }),
    );
  }

  async blockInactivateAll(): Promise<void> {
    const { inactivateAll } = await import('../block/inactivate.ts');
    await inactivateAll(this.#server.graph);
  }

  async blockActivateAll(): Promise<void> {
    const { activateAll } = await import('../block/inactivate.ts');
    await activateAll(this.#server.graph, (nodeName, message) =>
      this.#server.event({ event: 'NOTICE', nodeName, message }),
    );
  }

  async blockGeneration(nodeName: string): Promise<string> {
    return this.#server.graph.get(nodeName).generation();
  }

  async blockdevPlanMove(nodeName: string): Promise<MovePlan> {
    const { graph } = this.#server;
    const { nodes, backends } = planMove(graph, graph.get(nodeName));
    return { nodes: nodes.map(movingNode), devices: backends.map(({ name }) => name) };
  }

  async blockdevSend(move: number, nodeName: string, port: MessagePort): Promise<GraphSent> {
    const sender = new GraphSender(this.#server, this.#arriving, port);
    this.#sending.set(move, sender);
    return sender.send(nodeName).finally(() => this.#sending.delete(move));
  }
  async blockdevReceive(
    move: number,
    nodes: readonly MovingNode[],
    devices: MovingDevices,
    port: MessagePort,
  ): Promise<void> {
    const receiver = new GraphReceiver(this.#server, this.#arriving, nodes, devices, port);
    this.#receiving.set(move, receiver);
    return receiver.receive().finally(() => this.#receiving.delete(move));
  }
  async blockdevParcel(move: number): Promise<MovedGraph | undefined> {
    return this.#sending.get(move)?.parcel;
  }
  async blockdevDeliver(move: number, moved: MovedGraph): Promise<void> {
    this.#receiving.get(move)?.take(moved);
  }
  async deviceForget(key: number): Promise<void> {
    this.#arriving.forget(key);
  }
  async blockdevRecall(move: number): Promise<void> {
    const end = this.#sending.get(move) ?? this.#receiving.get(move);
    end?.callOff.call(new BlockError('ECANCELED', 'the move was called off'));
  }

  async blockdevAttach(shared: MovedGraph): Promise<void> {
    const { graph } = this.#server;
    const nodes = shared.nodes.map(({ nodeName, driver }) => ({ nodeName, driver }));
    await prepareAttach(graph, nodes);
    const failure = await attachGraph(graph, shared, {
      adopt: () => {},
      onNotice: (nodeName, message) => this.#server.event({ event: 'NOTICE', nodeName, message }),
    });
    if (failure !== undefined) throw failure.error;
  }

  async blockdevShare(nodeName: string): Promise<MovedGraph> {
    return shareGraph(this.#server.graph, nodeName);
  }

  async devicePause(id: string): Promise<void> {
    await this.#server.devices.get(id).pause();
  }
  async deviceResume(id: string): Promise<void> {
    this.#server.devices.get(id).resume();
  }

  async queryBlock(): Promise<readonly BlockNodeInfo[]> {
    return this.#server.graph.nodes.map(nodeInfo);
  }

  async queryBlockstats(): Promise<readonly BlockNodeStats[]> {
    return this.#server.graph.nodes.map(nodeStats);
  }

  async blockLatencyHistogramSet(on: boolean): Promise<void> {
    this.#server.graph.setTiming(on);
  }

  exportNext(job: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.jobs.exports.next(job);
  }
  exportEnd(job: number): Promise<void> {
    return this.jobs.exports.end(job);
  }

  importWrite(job: number, bytes: Uint8Array): Promise<void> {
    return this.jobs.imports.write(job, bytes);
  }
  importEnd(job: number): Promise<void> {
    return this.jobs.imports.end(job);
  }

  async queryIothread(): Promise<IOThreadStats> {
    const { settings, ns } = this.#server.context.pollPolicy;
    return {
      pollMaxNs: settings.maxNs,
      pollGrow: settings.grow,
      pollShrink: settings.shrink,
      pollNs: ns,
      loop: { ...this.#server.context.counters },
      devices: this.#server.devices.stats(),
    };
  }

  async setPoll(options: PollOptions): Promise<void> {
    const { pollPolicy } = this.#server.context;
    pollPolicy.settings = parsePollOptions(options, pollPolicy.settings);
  }
}

/** Throws what a failure stands for. */
function expectOk(ret: Ret, what: string, node: string): void {
  if (ret < 0) throw BlockError.fromRet(ret, what, node);
}
