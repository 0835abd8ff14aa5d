import { describe, expect, it } from 'vitest';
import { OK } from '../../../base/ret.ts';
import { SimDisk } from '../../../testing/crash-sim.ts';
import { createQcow2, openQcow2, read, write } from '../../../testing/qcow2-images.ts';

describe('qcow2', () => {
  it('reads back what was written, also after it was closed and opened again', async () => {
    const file = new SimDisk(new Uint8Array(0));
    await createQcow2(file, 1024 * 1024);
    const { node } = await openQcow2(file);
    expect(await read(node, 0, 512)).toEqual(new Uint8Array(512));
    const data = new Uint8Array(100_000).fill(7);
    expect(await write(node, 60_000, data)).toBe(OK);
    expect(await read(node, 60_000, 100_000)).toEqual(data);
    await node.close();
    const again = await openQcow2(file);
    expect(await read(again.node, 60_000, 100_000)).toEqual(data);
    const result = await again.state.check!('none');
    expect(result.messages).toEqual([]);
    await again.node.close();
  });
});
