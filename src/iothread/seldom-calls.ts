// Control calls that few sessions make: in a file of their own, so that the others need not load it.
// Those that are jobs are in `job-bodies.ts`.

import { transfer } from 'comlink';
import type { MaybeRet, Ret } from '../base/ret.ts';
import { BlockError } from '../block/block-error.ts';
import { whileAllDrained } from '../block/drain.ts';
import { flushGraph } from '../block/flush-all.ts';
import { attachGraph, detachGraph, planMove, prepareAttach } from '../block/move.ts';
import type { MovedGraph } from '../block/move.ts';
import { PERM_ALL, PERM_RESIZE } from '../block/permissions.ts';
import { shareGraph } from '../block/share.ts';
import { nodeInfo } from '../block/query.ts';
import type { BlockNodeInfo } from '../block/query.ts';
import { nodeStats } from '../block/query-stats.ts';
import type { BlockNodeStats } from '../block/query-stats.ts';
import type {
  BlockdevOptions,
  IOThreadControl,
  IOThreadStats,
  MovingNode,
  SeldomCall,
} from './control.ts';
import type { ControlServer } from './control-server.ts';
import type { MovedDevice } from './device-table.ts';
import { JobBodies } from './job-bodies.ts';
import { parsePollOptions } from './poll-options.ts';
import type { PollOptions } from './poll-options.ts';
import type { MovedPortDevice } from './port-devices.ts';

export class SeldomCalls implements Pick<IOThreadControl, SeldomCall> {
  readonly jobs: JobBodies;
  readonly #server: ControlServer;
  /** A graph that could not be attached, for the page to bring back to where it was. */
  #comingBack: MovedGraph | undefined;

  constructor(server: ControlServer) {
    this.#server = server;
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

  async blockdevPlanMove(nodeName: string): Promise<readonly MovingNode[]> {
    const { nodes } = planMove(this.#server.graph, this.#server.graph.get(nodeName));
    return nodes.map(({ name, driver }) => ({ nodeName: name, driver }));
  }

  async blockdevPrepareAttach(nodes: readonly MovingNode[]): Promise<void> {
    await prepareAttach(this.#server.graph, nodes);
    await this.#server.devices.prepare();
  }

  async blockdevDetach(nodeName: string): Promise<MovedGraph> {
    return handOver(await detachGraph(this.#server.graph, nodeName));
  }

  async blockdevAttach(moved: MovedGraph): Promise<void> {
    const failure = await attachGraph(this.#server.graph, moved, {
      adopt: (backend, user) =>
        this.#server.devices.adopt(backend, user as MovedDevice | MovedPortDevice),
      onNotice: (nodeName, message) => this.#server.event({ event: 'NOTICE', nodeName, message }),
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

/** Sends buffers that a disk in memory consists of along instead of copying them. */
function handOver(moved: MovedGraph): MovedGraph {
  return transfer(moved, [...moved.transfer]);
}
