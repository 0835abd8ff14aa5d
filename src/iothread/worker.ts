/**
 * The script of an IOThread in a browser, a dedicated module worker. It exports nothing: `workerUrl` names
 * a copy of it, and `createWorker` starts it.
 *
 * @module diskplane/worker
 */
// No top-level await: the page's first message must find a listener.

import { BrowserHost } from '../host/browser.ts';
import type { Endpoint } from '../host/host.ts';
import { runIOThread } from './run.ts';

const host = new BrowserHost();
runIOThread(host, globalThis as unknown as Endpoint);
