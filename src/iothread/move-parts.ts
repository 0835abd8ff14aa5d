// What both ends of a move need: how it is called off, how a graph is handed over, and how one is taken in.

import { transfer } from 'comlink';
import { isShared } from '../base/shared-buffer.ts';
import type { BackendUser, BlockBackend } from '../block/block-backend.ts';
import { BlockError } from '../block/block-error.ts';
import type { MovedGraph } from '../block/move.ts';
import type { AttachOptions } from '../block/move-attach.ts';
import type { ArrivingDevices, Wiring } from './arriving-devices.ts';
import type { ControlServer } from './control-server.ts';
import type { DeviceWiring, MovedDevice } from './device-table.ts';
import type { MovedPortDevice } from './port-devices.ts';

export function wiringOf(backends: readonly BlockBackend[]): Wiring {
  const wiring = (user: BackendUser | undefined): DeviceWiring | undefined =>
    user?.wiring as DeviceWiring | undefined;
  return new Map(backends.map(({ name, user }) => [name, wiring(user)]));
}

/** The end of a wait for the other thread, which may be gone, or may send what cannot be read here. */
export class CallOff {
  readonly #called: Promise<never>;
  /** The present wait ends with `error`, and so does any later one. */
  call!: (error: BlockError) => void;

  constructor(port: MessagePort) {
    this.#called = new Promise((_, reject) => (this.call = reject));
    this.#called.catch(() => {});
    port.addEventListener('messageerror', () =>
      this.call(new BlockError('EIO', 'what came from the other thread cannot be read here')),
    );
  }

  race<T>(wait: Promise<T>): Promise<T> {
    return Promise.race([wait, this.#called]);
  }
}

export function attachOptions(
  server: ControlServer,
  arriving: ArrivingDevices,
  wiring: Wiring,
): AttachOptions {
  return {
    adopt: (backend, user) =>
      arriving.adopt(backend, user as MovedDevice | MovedPortDevice, wiring),
    onNotice: (nodeName, message) => server.event({ event: 'NOTICE', nodeName, message }),
  };
}

/**
 * Sends buffers that a disk in memory consists of along instead of copying them, and no shared ones: Firefox
 * takes none over a port, so they go ahead, by way of the page.
 */
export function handOver(moved: MovedGraph): MovedGraph {
  const nodes = moved.nodes.map((node) => ({
    ...node,
    carried: pick(node.carried, (value) => !isSharedMemory(value)),
  }));
  return transfer({ ...moved, nodes }, [...moved.transfer]);
}

/** `back` with the shared memory that it had as `moved`. */
export function withShared(back: MovedGraph, moved: MovedGraph): MovedGraph {
  const before = new Map(moved.nodes.map(({ nodeName, carried }) => [nodeName, carried]));
  const nodes = back.nodes.map((node) => {
    const shared = pick(before.get(node.nodeName), isSharedMemory);
    return { ...node, carried: pick(node.carried, () => true, shared) };
  });
  return { ...back, nodes };
}

export function isBuffer(part: unknown): boolean {
  return part instanceof ArrayBuffer;
}

function isSharedMemory(value: unknown): boolean {
  return isShared(value as ArrayBufferLike);
}

/** The properties whose values pass, and `more`; undefined for what is no object. */
function pick(
  carried: unknown,
  passes: (value: unknown) => boolean,
  more: object = {},
): object | undefined {
  if (typeof carried !== 'object' || carried === null) return undefined;
  const picked = Object.entries(carried).filter(([, value]) => passes(value));
  return { ...Object.fromEntries(picked), ...more };
}
