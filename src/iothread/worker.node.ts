// The IOThread entry in Node: a worker thread. Registers the drivers that only Node has.

import { parentPort } from 'node:worker_threads';
import { registerDriver } from '../block/registry.ts';
import { NodeHost, nodeEndpoint } from '../host/node.ts';
import { runIOThread } from './run.ts';

registerDriver('file', () => import('../block/protocols/file.ts'));
if (parentPort === null) throw new Error('this script runs in a worker thread');
runIOThread(new NodeHost(new URL('about:blank')), nodeEndpoint(parentPort));
