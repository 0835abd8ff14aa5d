// The bundler does not find the worker: it was copied beside this file, and all disks share a thread.
import { createDisk, openDisk, startIOThread } from 'diskplane';

const thread = await startIOThread({ workerUrl: './iothread-worker.js' });
const options = { driver: 'qcow2', file: { driver: 'opfs', path: 'disk.qcow2' } };
await createDisk({ ...options, size: '1G' }, { thread });
const disk = await openDisk(options, { thread });
await disk.write(4096, new TextEncoder().encode('written and read'));
await disk.close();

const again = await openDisk(options, { thread });
const back = new Uint8Array(16);
await again.read(4096, back);
await thread.close();
document.body.textContent = new TextDecoder().decode(back);
