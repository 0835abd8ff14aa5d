// The worker's side of an IOThread: one event loop, one graph, the devices it serves. The entries
// `worker.ts` and `worker.node.ts` hand in the host; everything else is the same everywhere.

import { expose } from 'comlink';
import type { Endpoint as ComlinkEndpoint } from 'comlink';
import { DOORBELL_RECEIVED, DOORBELL_WORDS } from '../aio/event-notifier.ts';
import { WorkerContext } from '../aio/worker-context.ts';
import type { Endpoint, Host } from '../host/host.ts';
import type { IOThreadControl, IOThreadSetup, WorkerMessage } from './control.ts';
import { ControlServer } from './control-server.ts';
import { setDriverUrls } from './driver-files.ts';
import { installTransferHandlers } from './transfer-errors.ts';

/** Exposes the control interface on `endpoint`; the page's `init` call starts the loop. */
export function runIOThread(host: Host, endpoint: Endpoint): void {
  installTransferHandlers();
  const post = (message: WorkerMessage): void => endpoint.postMessage(message);
  let received = 0;
  let doorbell: Int32Array | undefined;
  let context: WorkerContext | undefined;
  let server: ControlServer | undefined;

  // Before Comlink's own listener: a message counts as received before its call starts.
  endpoint.addEventListener('message', () => {
    received += 1;
    if (doorbell !== undefined) Atomics.store(doorbell, DOORBELL_RECEIVED, received);
  });

  const init = async (setup: IOThreadSetup): Promise<void> => {
    setDriverUrls(setup.driverUrls);
    doorbell = new Int32Array(setup.doorbell ?? new ArrayBuffer(4 * DOORBELL_WORDS));
    Atomics.store(doorbell, DOORBELL_RECEIVED, received);
    context = new WorkerContext(setup.id, host, doorbell, (error) => {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      post({ diskplane: 'event', event: { event: 'IOTHREAD_BUG', message } });
    });
    context.pollPolicy.settings = setup.poll;
    server = new ControlServer(context, doorbell, post, setup.autoPrefix);
    // Whoever hears the answer may wait for this life's end, so it must have begun.
    await host.holdLife(setup.life);
    // The answer to this call leaves first: the loop may block at once.
    const loop = host.turn().then(() => context!.run());
    loop.catch((error: unknown) => {
      // A bug of ours in the loop itself: nothing is served any more, so say so and end.
      host.setTimer(() => {
        throw error;
      }, 0);
    });
  };

  // Every call is host work until it is answered, so that the loop does not block meanwhile.
  const control = new Proxy({} as IOThreadControl, {
    get: (_target, name) => {
      if (name === 'init') return init;
      return (...args: unknown[]) => context!.track(call(server!, name, args));
    },
  });
  expose(control, endpoint as ComlinkEndpoint);
  endpoint.start?.();
}

async function call(server: ControlServer, name: PropertyKey, args: unknown[]): Promise<unknown> {
  let calls: object = server;
  if (!(name in server)) {
    const seldom = await server.seldomCalls();
    calls = name in seldom ? seldom : seldom.jobs;
  }
  const method = (calls as Record<PropertyKey, unknown>)[name];
  if (typeof method !== 'function') throw new Error(`no control call '${String(name)}'`);
  return (method as (...args: unknown[]) => unknown).apply(calls, args);
}
