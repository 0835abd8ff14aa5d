// Takes a graph to another IOThread, over a port from thread to thread: the page, on whose thread an
// emulator may be busy, asks for the move and hears of its end, but no disk stands still for it.

import { expose, transfer, wrap } from 'comlink';
import type { AioContext } from '../aio/aio-context.ts';
import { BlockError } from '../block/block-error.ts';
import { attachGraph, detachGraph } from '../block/move.ts';
import type { AttachFailure, AttachOptions, MovedGraph } from '../block/move.ts';
import type { Graph } from '../block/graph.ts';
import type { GraphSent } from './control.ts';

/** The target's end of the port. */
interface GraphReceiver {
  attach(moved: MovedGraph): Promise<void>;
  /** What `attach` could not take in. */
  takeBack(): Promise<MovedGraph>;
}

export interface CourierParts {
  readonly context: AioContext;
  readonly graph: Graph;
  /** How what comes is taken in. */
  readonly attach: AttachOptions;
}

export class GraphCourier {
  readonly #parts: CourierParts;
  /** What ends a move, by its number. */
  readonly #recalls = new Map<number, (error: BlockError) => void>();

  constructor(parts: CourierParts) {
    this.#parts = parts;
  }

  /**
   * Detaches the graph of `nodeName` and has the thread behind `port` attach it. Throws BlockError, and then
   * it works on here; or it is lost, where it can be opened neither there nor here any more (EIO).
   */
  async send(move: number, nodeName: string, port: MessagePort): Promise<GraphSent> {
    const { context, graph } = this.#parts;
    const recalled = this.#recallOf(move);
    const receiver = wrap<GraphReceiver>(port);
    const start = context.now();
    try {
      const moved = await detachGraph(graph, nodeName);
      try {
        await Promise.race([receiver.attach(handOver(moved)), recalled]);
      } catch (error) {
        // What was handed over stays lost where the other thread is gone.
        const back = await Promise.race([receiver.takeBack(), recalled]).catch(() => moved);
        await this.#attachAgain(back, error);
        throw error;
      }
      const devices = moved.backends.map(({ name }) => name);
      return { devices, pauseNs: context.now() - start };
    } finally {
      this.#recalls.delete(move);
      port.close();
    }
  }

  /** Attaches the graph that comes over `port`. Resolves when it is here. Throws BlockError: it is not. */
  async receive(move: number, port: MessagePort): Promise<void> {
    const { graph, attach } = this.#parts;
    const recalled = this.#recallOf(move);
    let attaching: Promise<AttachFailure | undefined> | undefined;
    const received = new Promise<void>((resolve, reject) => {
      const receiver: GraphReceiver = {
        attach: async (moved) => {
          attaching = attachGraph(graph, moved, attach);
          const failure = await attaching;
          if (failure !== undefined) throw failure.error;
          resolve();
        },
        takeBack: async () => {
          const failure = await attaching;
          if (failure === undefined) throw new BlockError('ENOENT', 'no graph is to be taken back');
          reject(failure.error);
          return handOver(failure.moved);
        },
      };
      expose(receiver, port);
    });
    try {
      await Promise.race([received, recalled]);
    } catch (error) {
      await attaching;
      throw error;
    } finally {
      this.#recalls.delete(move);
    }
  }

  /** The other thread is gone, or its part of the move is over: ends `send` or `receive`. */
  recall(move: number): void {
    this.#recalls.get(move)?.(new BlockError('ECANCELED', 'the move was called off'));
  }

  #recallOf(move: number): Promise<never> {
    const recalled = new Promise<never>((_, reject) => this.#recalls.set(move, reject));
    recalled.catch(() => {});
    return recalled;
  }

  async #attachAgain(moved: MovedGraph, why: unknown): Promise<void> {
    const failure = await attachGraph(this.#parts.graph, moved, this.#parts.attach);
    if (failure === undefined) return;
    const names = moved.nodes.map((node) => `'${node.nodeName}'`).join(', ');
    throw new BlockError(
      'EIO',
      `${names} could be opened neither on the thread that it was to move to (${String(why)}) ` +
        `nor where it was (${String(failure.error)})`,
      { cause: failure.error },
    );
  }
}

/** Sends buffers that a disk in memory consists of along instead of copying them. */
function handOver(moved: MovedGraph): MovedGraph {
  return transfer(moved, [...moved.transfer]);
}
