// The bundler does not find the worker: it was copied beside this file, and the drivers with it. All
// disks share a thread.
import { createDisk, openDisk, startIOThread } from 'diskplane';

const thread = await startIOThread({ workerUrl: './iothread-worker.js?v=1' });
const opfs = { driver: 'qcow2', file: { driver: 'opfs', path: 'disk.qcow2' } };
const idb = { driver: 'idb', database: 'disk' };
const texts = [await roundTrip(opfs), await roundTrip(idb)];
await thread.close();
document.body.textContent = texts.join(', ');

async function roundTrip(options) {
  await createDisk({ ...options, size: '1G' }, { thread });
  const disk = await openDisk(options, { thread });
  await disk.write(4096, new TextEncoder().encode(`${options.driver}: written and read`));
  await disk.close();

  const again = await openDisk(options, { thread });
  const back = new Uint8Array(options.driver.length + 18);
  await again.read(4096, back);
  await again.close();
  return new TextDecoder().decode(back);
}
