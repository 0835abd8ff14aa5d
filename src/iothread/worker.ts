// The IOThread entry in a browser: a dedicated worker. No top-level await: the page's first message
// must find a listener.

import { BrowserHost } from '../host/browser.ts';
import type { Endpoint } from '../host/host.ts';
import { runIOThread } from './run.ts';

const host = new BrowserHost();
runIOThread(host, globalThis as unknown as Endpoint);
