// A machine from power on to power off: a guest's thread, two IOThreads with a graph each, and the page's
// thread that orders moves, drains and jobs. Real graph, drivers and device; all that is simulated lies
// below the protocols and above the ring. It takes no longer than until the power fails.

import type { OptionTree } from '../base/options.ts';
import type { BlockBackend } from '../block/block-backend.ts';
import type { BlockNode } from '../block/block-node.ts';
import { BlockError } from '../block/block-error.ts';
import { Graph } from '../block/graph.ts';
import { detachGraph } from '../block/move.ts';
import { attachGraph, prepareAttach } from '../block/move-attach.ts';
import type { MovedGraph } from '../block/move.ts';
import { openGraph } from '../block/open.ts';
import type { SimContext } from '../testing/sim-context.ts';
import type { SimWorld } from '../testing/sim-world.ts';
import { TransportChannel } from '../virtio/transport-channel.ts';
import { VirtioBlk } from '../virtio/virtio-blk.ts';
import type { RingPositions } from '../virtio/virtio-blk.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';
import type { DiskOracle } from './disk-oracle.ts';
import type { DiskPhase } from './disk-phase.ts';
import { OracleError } from './oracle-error.ts';
import { SimGuest } from './sim-guest.ts';
import type { RingKind } from './sim-rings.ts';

/** The root node of the disk. */
export const DISK = 'disk';

/** Seams for the canaries: deliberate bugs are put in here, never into the code under test. */
export interface MachineSeams {
  /** Hears of each graph that was opened or taken in. */
  readonly onGraph?: (graph: Graph) => void;
  /** Hears of the device's side of each ring, before it is served. */
  readonly onQueue?: (queue: Virtqueue) => void;
  /** Stands in the way of interrupts. */
  readonly interrupt?: (deliver: () => void) => void;
  /** Stands around what is done to a graph. */
  readonly during?: (what: Upheaval, run: () => Promise<void>) => Promise<void>;
}

export type Upheaval = 'reopen' | 'inactivate' | 'makeEmpty' | 'flushAll' | 'closeAll' | 'commit';

export interface MachineParts {
  readonly world: SimWorld;
  /** Tells the threads of this machine from those before. */
  readonly name: string;
  readonly rings: RingKind;
  readonly oracle: DiskOracle;
  readonly phase: DiskPhase;
  readonly cluster: number;
  readonly mayFail: () => boolean;
  readonly count: (kind: string) => void;
  /** Has the power fail a few events from now. */
  readonly cutSoon: () => void;
  readonly seams: MachineSeams;
}

interface IOThread {
  readonly context: SimContext;
  readonly graph: Graph;
}

/** The disk on the thread that serves it. */
export interface ServedDisk {
  readonly io: SimContext;
  readonly graph: Graph;
  readonly backend: BlockBackend;
}

export class SimMachine {
  readonly page: SimContext;
  readonly vcpu: SimContext;
  readonly guest: SimGuest;
  readonly #threads: readonly IOThread[];
  readonly #parts: MachineParts;
  readonly #channel: TransportChannel;
  /** Everything was closed, or is about to be. */
  closed = false;
  #moving: Promise<void> | undefined;
  #where = 0;
  #device: VirtioBlk | undefined;

  constructor(parts: MachineParts) {
    const { world, name, rings, oracle, phase, cluster, mayFail, count, cutSoon } = parts;
    this.#parts = parts;
    this.page = world.newContext(`page${name}`, { mayBlock: false });
    this.vcpu = world.newContext(`vcpu${name}`);
    this.#threads = [0, 1].map((index) => {
      const context = world.newContext(`io${name}${'ab'[index]}`);
      return { context, graph: new Graph(context, `#${index}-`) };
    });
    this.#channel = new TransportChannel(new SharedArrayBuffer(TransportChannel.bytes(1)), 1);
    const { vcpu } = this;
    const channel = this.#channel;
    this.guest = new SimGuest({
      world, vcpu, channel, rings, oracle, phase, cluster, mayFail, count, cutSoon,
    }); // prettier-ignore
  }

  /** The thread that serves the disk now. */
  get io(): SimContext {
    return this.#here.context;
  }
  get graph(): Graph {
    return this.#here.graph;
  }
  get backend(): BlockBackend {
    return this.#device!.backend;
  }
  get #here(): IOThread {
    return this.#threads[this.#where]!;
  }

  /** Opens the disk and plugs the device in. From the page. Throws BlockError. */
  async open(options: OptionTree): Promise<void> {
    const { context, graph } = this.#here;
    await context.call('open', async () => {
      await openGraph(graph, options);
      this.#parts.seams.onGraph?.(graph);
      this.#plug(graph.newBackend({ name: 'vda', nodeName: DISK }), undefined);
    });
    await this.vcpu.call('start', () => {
      this.guest.served(context.doorbell);
      this.guest.start();
    });
  }

  /**
   * Runs `act` on the thread that serves the disk, and answers what it does. Throws ENOENT where the disk is
   * not there any more, or not yet, by the time that the call arrives.
   */
  onDisk<T>(label: string, act: (disk: ServedDisk) => T | Promise<T>): Promise<T> {
    const { context: io, graph } = this.#here;
    return io.call(label, () => {
      const { backend } = this;
      if (!graph.backends.includes(backend)) {
        throw new BlockError('ENOENT', `${label}: the disk is elsewhere`);
      }
      return act({ io, graph, backend });
    });
  }

  /**
   * Moves the disk to the other thread. From the page. Throws BlockError; then it is where it was:
   * `onWayBack` hears that it failed, and sees to it that it can be opened there again.
   */
  move(onWayBack: () => void): Promise<void> {
    const moving = this.#move(onWayBack);
    this.#moving = moving.catch(() => {});
    return moving;
  }

  async #move(onWayBack: () => void): Promise<void> {
    const [from, to] = [this.#here, this.#threads[1 - this.#where]!];
    const plan = from.graph.nodes.map(({ name: nodeName, driver }) => ({ nodeName, driver }));
    await to.context.call('prepare', () => prepareAttach(to.graph, plan));
    const tickets = this.guest.takeLeftBehind();
    const moved = await from.context.call('detach', () => detachGraph(from.graph, DISK));
    for (const ticket of tickets) this.#parts.oracle.over(ticket, false);
    const failure = await this.#attach(to, moved);
    if (failure === undefined) this.#where = 1 - this.#where;
    else {
      onWayBack();
      const again = await this.#attach(from, failure.moved);
      if (again !== undefined) throw new OracleError(`lost in a move: ${again.error.message}`);
    }
    await this.vcpu.call('served', () => this.guest.served(this.#here.context.doorbell));
    if (failure !== undefined) throw failure.error;
  }

  /** Takes the device away and closes the disk. From the page. Throws BlockError. */
  async close(): Promise<void> {
    const { context, graph } = this.#here;
    await context.call('close', async () => {
      const device = this.#device!;
      await device.drain();
      device.remove();
      await graph.closeBackend(device.backend);
      await graph.blockdevDel(DISK);
      // Backing images that were put in later.
      const isLeft = (node: BlockNode): boolean => node.quiescence.parents.size === 0;
      for (let left = graph.nodes.find(isLeft); left; left = graph.nodes.find(isLeft)) {
        await graph.blockdevDel(left.name);
      }
    });
  }

  /**
   * Closes everything on both threads, whatever is under way there; the device stays, and answers that
   * there is no disk. From the page. Throws the first BlockError.
   */
  async closeAll(): Promise<void> {
    this.closed = true;
    const failures: unknown[] = [];
    const close = async (): Promise<void> => {
      for (const { context, graph } of this.#threads) {
        await context
          .call('close all', () => this.during('closeAll', () => graph.closeAll()))
          .catch((error: unknown) => failures.push(error));
      }
    };
    await close();
    // What was between the threads then is not any more.
    await this.#moving;
    await close();
    if (failures.length > 0) throw failures[0];
  }

  /** Takes the device away. From the page. */
  async unplug(): Promise<void> {
    const device = this.#device!;
    await (device.context as SimContext).call('unplug', () => device.remove());
  }

  /** Runs `body`, and has canaries know. */
  during(what: Upheaval, body: () => Promise<void>): Promise<void> {
    return this.#parts.seams.during?.(what, body) ?? body();
  }

  /** What is still there after `close`, in words. */
  leaks(): string[] {
    return this.#threads.flatMap(({ context, graph }) => [
      ...graph.nodes.map((node) => `${node.label} is open`),
      ...graph.backends.map((backend) => `${backend.label} is there`),
      ...(context.armedTimers > 0 ? [`${context.name}: ${context.armedTimers} timers`] : []),
      ...(context.hostWork > 0 ? [`${context.name}: ${context.hostWork} of host work`] : []),
    ]);
  }

  /** Ends every thread where it stands. */
  terminate(): void {
    for (const { context } of this.#threads) context.terminate();
    this.vcpu.terminate();
    this.page.terminate();
  }

  #attach(to: IOThread, moved: MovedGraph): ReturnType<typeof attachGraph> {
    const crossed = structuredClone(moved);
    return to.context.call('attach', async () => {
      const failure = await attachGraph(to.graph, crossed, {
        adopt: (backend, user) => this.#plug(backend, user as RingPositions),
      });
      if (failure === undefined) this.#parts.seams.onGraph?.(to.graph);
      return failure;
    });
  }

  #plug(backend: BlockBackend, resumeAt: RingPositions | undefined): void {
    const { world, rings, seams } = this.#parts;
    const thread = this.#threads.find(({ graph }) => graph.backends.includes(backend))!;
    const interrupt = seams.interrupt ?? ((deliver: () => void) => deliver());
    const device = new VirtioBlk({
      id: 'vda',
      context: thread.context,
      backend,
      channel: this.#channel,
      doorbell: thread.context.doorbell,
      ram: rings.ram,
      newQueue: (_index, config) => {
        const queue = rings.newQueue(config);
        seams.onQueue?.(queue);
        return queue;
      },
      serial: 'simulated',
      onError: () => this.#parts.count('I/O error'),
      onBroken: (reason) => world.reportBug(new BlockError('EIO', `device broken: ${reason}`)),
      sendCall: () => interrupt(() => this.vcpu.post('interrupt', () => this.guest.called())),
      resumeAt,
    });
    this.#device = device;
    backend.user = {
      pause: () => device.pause(),
      resume: () => device.resume(),
      takeAway: () => ({ user: device.leave(), transfer: [] }),
    };
  }
}
