// The source's part of a move: detaches the graph once the other thread is ready, sends it there over a port from
// thread to thread, and attaches it again where that failed. The page, on whose thread an emulator may be
// busy, hears of the end; only buffers that a disk consists of go by it, which is quick where a port copies them.

import { wrap } from 'comlink';
import type { Remote } from 'comlink';
import type { Leaving } from '../block/block-driver.ts';
import { BlockError } from '../block/block-error.ts';
import { detachGraph, planMove } from '../block/move.ts';
import { attachGraph } from '../block/move-attach.ts';
import type { MovedGraph } from '../block/move.ts';
import type { ArrivingDevices, Wiring } from './arriving-devices.ts';
import type { GraphSent } from './control.ts';
import type { ControlServer } from './control-server.ts';
import type { ReceiverCalls } from './graph-receiver.ts';
import { CallOff, attachOptions, handOver, isBuffer, wiringOf, withShared } from './move-parts.ts';

export class GraphSender {
  readonly callOff: CallOff;
  /** What the page is to take to the other thread; undefined where the port does. */
  readonly parcel: Promise<MovedGraph | undefined>;
  #pack!: (moved: MovedGraph | undefined) => void;
  readonly #server: ControlServer;
  readonly #arriving: ArrivingDevices;
  readonly #port: MessagePort;
  readonly #receiver: Remote<ReceiverCalls>;

  /** Owns `port`. */
  constructor(server: ControlServer, arriving: ArrivingDevices, port: MessagePort) {
    this.#server = server;
    this.#arriving = arriving;
    this.#port = port;
    this.callOff = new CallOff(port);
    this.parcel = new Promise((resolve) => (this.#pack = resolve));
    this.#receiver = wrap<ReceiverCalls>(port);
  }

  /**
   * Moves the graph of `nodeName`. Throws BlockError, and then it works on here; or it is lost, where it can be
   * opened neither there nor here any more (EIO).
   */
  async send(nodeName: string): Promise<GraphSent> {
    const { context, graph } = this.#server;
    const { callOff } = this;
    const left: Leaving[] = [];
    let isOpen = true;
    try {
      await callOff.race(this.#receiver.ready());
      const { backends } = planMove(graph, graph.get(nodeName));
      const wiring = wiringOf(backends);
      const start = context.now();
      const moved = await detachGraph(graph, nodeName, (leaving) => left.push(leaving));
      try {
        await callOff.race(this.#carry(moved));
      } catch (error) {
        const lost = await this.#bringBack(moved, wiring, error);
        isOpen = lost === undefined;
        void this.#receiver.over(isOpen).catch(() => {});
        throw lost ?? error;
      }
      const devices = moved.backends.map(({ name }) => name);
      return { devices, pauseNs: context.now() - start };
    } finally {
      this.#pack(undefined);
      for (const leaving of left) leaving(isOpen);
      this.#port.close();
    }
  }

  #carry(moved: MovedGraph): Promise<void> {
    if (!moved.transfer.some(isBuffer)) return this.#receiver.attach(handOver(moved));
    this.#pack(handOver(moved));
    return this.#receiver.attached();
  }

  /** Answers why the graph is lost; undefined when it is here again. */
  async #bringBack(
    moved: MovedGraph,
    wiring: Wiring,
    why: unknown,
  ): Promise<BlockError | undefined> {
    // What was handed over stays lost where the other thread is gone.
    const back = await this.callOff.race(this.#receiver.takeBack()).catch(() => moved);
    const options = attachOptions(this.#server, this.#arriving, wiring);
    const failure = await attachGraph(this.#server.graph, withShared(back, moved), options);
    if (failure === undefined) return undefined;
    const names = moved.nodes.map((node) => `'${node.nodeName}'`).join(', ');
    return new BlockError(
      'EIO',
      `${names} could be opened neither on the thread that it was to move to (${String(why)}) ` +
        `nor where it was (${String(failure.error)})`,
      { cause: failure.error },
    );
  }
}
