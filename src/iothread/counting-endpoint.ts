// An endpoint whose messages are counted in the doorbell of the thread they go to, which is rung for
// each: a worker blocked in `Atomics.wait` hears none.

import { DOORBELL_POSTED, ringDoorbell } from '../aio/event-notifier.ts';
import type { Endpoint } from '../host/host.ts';

export function countingEndpoint(endpoint: Endpoint, doorbell: Int32Array): Endpoint {
  return {
    addEventListener: (type, listener) => endpoint.addEventListener(type, listener),
    removeEventListener: (type, listener) => endpoint.removeEventListener(type, listener),
    postMessage: (message, transfer) => {
      endpoint.postMessage(message, transfer);
      Atomics.add(doorbell, DOORBELL_POSTED, 1);
      ringDoorbell(doorbell);
    },
  };
}
