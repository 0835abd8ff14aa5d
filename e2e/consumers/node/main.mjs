// In Node: worker threads, and disks in files.
import { createDisk, openDisk } from 'diskplane';

const options = { driver: 'qcow2', file: { driver: 'file', filename: 'disk.qcow2' } };
await createDisk({ ...options, size: '1G' });
const disk = await openDisk(options);
await disk.write(4096, new TextEncoder().encode('written and read'));
await disk.close();

const again = await openDisk(options);
const back = new Uint8Array(16);
await again.read(4096, back);
await again.close();
console.log(new TextDecoder().decode(back));
