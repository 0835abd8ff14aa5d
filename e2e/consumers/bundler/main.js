// The bundler finds the worker by itself, and the files of its drivers.
import { createDisk, openDisk } from 'diskplane';

const opfs = { driver: 'qcow2', file: { driver: 'opfs', path: 'disk.qcow2' } };
const idb = { driver: 'idb', database: 'disk' }; // in a file that the worker loads
document.body.textContent = `${await roundTrip(opfs)}, ${await roundTrip(idb)}`;

async function roundTrip(options) {
  await createDisk({ ...options, size: '1G' });
  const disk = await openDisk(options);
  await disk.write(4096, new TextEncoder().encode(`${options.driver}: written and read`));
  await disk.close();

  const again = await openDisk(options);
  const back = new Uint8Array(options.driver.length + 18);
  await again.read(4096, back);
  await again.close();
  return new TextDecoder().decode(back);
}
