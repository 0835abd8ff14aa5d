// What all servers of the tests begin and end with.

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server that listens. */
export interface Listening {
  /** Without a slash at its end. */
  readonly url: string;
  /** Ends it and the connections that are open. Idempotent. */
  readonly close: () => Promise<void>;
}

/** Lets `server` listen on a free port of 127.0.0.1. Rejects where it cannot. */
export async function listen(server: Server): Promise<Listening> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  let closed: Promise<void> | undefined;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      (closed ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      })),
  };
}
