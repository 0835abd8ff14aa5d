// The target's part of a move: makes ready while the disk still works on the other thread, then attaches what
// comes from there, over a port from thread to thread. What cannot be attached is taken back the same way.

import { expose } from 'comlink';
import { BlockError } from '../block/block-error.ts';
import type { Leaving } from '../block/block-driver.ts';
import { attachGraph, closeAhead, prepareAttach } from '../block/move-attach.ts';
import type { MovedGraph, MovingNode } from '../block/move.ts';
import type { Ahead, AttachFailure } from '../block/move-attach.ts';
import type { ArrivingDevices, Wiring } from './arriving-devices.ts';
import type { MovingDevices } from './control.ts';
import type { ControlServer } from './control-server.ts';
import { CallOff, attachOptions, handOver } from './move-parts.ts';

/** What the source calls, over the port. */
export interface ReceiverCalls {
  /** All that can be is done: the disk may stand still now. */
  ready(): Promise<void>;
  attach(moved: MovedGraph): Promise<void>;
  /** It came by way of the page, and is attached. */
  attached(): Promise<void>;
  /** What could not be attached. */
  takeBack(): Promise<MovedGraph>;
  /** That is open again where it was; or nowhere. */
  over(isOpen: boolean): Promise<void>;
}

export class GraphReceiver {
  readonly callOff: CallOff;
  readonly #server: ControlServer;
  readonly #arriving: ArrivingDevices;
  readonly #devices: MovingDevices;
  #wiring: Wiring = new Map();
  readonly #preparing: Promise<Ahead>;
  readonly #left: Leaving[] = [];
  /** What came. */
  readonly #moved: Promise<MovedGraph>;
  #take!: (moved: MovedGraph) => void;
  /** It is attached, or why not. */
  readonly #attaching: Promise<AttachFailure | undefined>;
  /** It came, or need not come any more. */
  #state: 'waits' | 'attaches' | 'over' = 'waits';
  #takenBack = false;

  /** Begins to make ready. Owns `port`. */
  constructor(
    server: ControlServer,
    arriving: ArrivingDevices,
    nodes: readonly MovingNode[],
    devices: MovingDevices,
    port: MessagePort,
  ) {
    this.#server = server;
    this.#arriving = arriving;
    this.#devices = devices;
    this.callOff = new CallOff(port);
    this.#preparing = this.#prepare(nodes);
    this.#moved = new Promise((resolve) => (this.#take = resolve));
    this.#attaching = this.#attach();
    this.#attaching.catch(() => {});
    expose(this.#calls(), port);
  }

  /** Resolves when the graph is attached. Throws BlockError: it is not, nor will it be. */
  async receive(): Promise<void> {
    const { callOff } = this;
    try {
      await this.#preparing;
      const failure = await callOff.race(this.#attaching);
      // The other thread needs it back, and what it left stays until that is done.
      if (failure !== undefined) await callOff.race(new Promise<never>(() => {}));
    } finally {
      if (this.#state === 'attaches') await this.#attaching.catch(() => {});
      this.#state = 'over';
      for (const leaving of this.#left) leaving(this.#takenBack);
      await this.#preparing.then(closeAhead, () => {});
    }
  }

  /** The graph is here. */
  take(moved: MovedGraph): void {
    if (this.#state !== 'waits') return;
    this.#state = 'attaches';
    this.#take(moved);
  }

  async #prepare(nodes: readonly MovingNode[]): Promise<Ahead> {
    this.#wiring = await this.#arriving.prepare(this.#devices);
    return prepareAttach(this.#server.graph, nodes);
  }

  async #attach(): Promise<AttachFailure | undefined> {
    const ahead = await this.#preparing;
    const moved = await this.#moved;
    const onLeft = (leaving: Leaving): number => this.#left.push(leaving);
    const options = { ...attachOptions(this.#server, this.#arriving, this.#wiring), ahead, onLeft };
    return attachGraph(this.#server.graph, moved, options);
  }

  #calls(): ReceiverCalls {
    const attached = async (): Promise<void> => {
      const failure = await this.#attaching;
      if (failure !== undefined) throw failure.error;
    };
    return {
      ready: () => this.#preparing.then(() => {}),
      attach: (moved) => {
        this.take(moved);
        return attached();
      },
      attached,
      takeBack: async () => {
        const failure = await this.#attaching;
        if (failure === undefined) throw new BlockError('ENOENT', 'no graph is to be taken back');
        return handOver(failure.moved);
      },
      over: async (isOpen) => {
        this.#takenBack = isOpen;
        const failure = await this.#attaching;
        this.callOff.call(failure?.error ?? new BlockError('ECANCELED', 'nothing came'));
      },
    };
  }
}
