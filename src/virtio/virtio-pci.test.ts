import { beforeEach, describe, expect, it } from 'vitest';
import { RAM, VirtioPciRig as Rig } from '../testing/virtio-pci-rig.ts';
import { DEVICE_GONE } from './device-channel.ts';
import { VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH } from './spec.ts';
import { VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1 } from './spec.ts';
import { virtioBlkPciSpace } from './virtio-pci-space.ts';
import { VQ_BAD_INDEX } from './virtqueue.ts';

const ISR = 0x40;
const NOTIFY = 0x44;
const NEEDS_RESET = 0x40;

describe('virtio-pci registers', () => {
  let rig: Rig;
  beforeEach(() => (rig = new Rig()));

  it('offers what the device can, in two windows', () => {
    const window = (select: number): number => {
      rig.pci.write(0x00, 4, select);
      return rig.pci.read(0x04, 4);
    };
    const bits = [2, 6, 9, 10, 11, 13, 14, 28, 29];
    expect(window(0)).toBe(bits.reduce((sum, bit) => sum + 2 ** bit, 0));
    expect(window(1)).toBe(1);
    expect(window(2)).toBe(0);
    const readOnly = new Rig({ readOnly: true, numQueues: 2 });
    const ro = readOnly.pci.read(0x04, 4);
    expect([5, 12, 13, 14].map((bit) => (ro >> bit) & 1)).toEqual([1, 1, 0, 0]);
  });

  it('starts: queues, features and cache mode reach the channel, then a kick', () => {
    rig.start(VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE);
    expect(rig.status).toBe(15);
    expect(rig.channel.generation & 1).toBe(1);
    expect(rig.channel.features).toBe((1n << 32n) | (1n << 9n) | (1n << 11n));
    expect(rig.channel.queue(0)).toEqual({
      size: 16,
      desc: 0x1000,
      avail: 0x1400,
      used: 0x1800,
      lastAvail: 0,
      usedIdx: 0,
    });
    expect(rig.kicks).toEqual([0]);
    rig.pci.write(NOTIFY, 2, 0);
    rig.pci.write(NOTIFY, 2, 1); // no such queue
    expect(rig.kicks).toEqual([0, 0]);
  });

  it('offers packed rings where asked to, and takes them anywhere in guest memory', () => {
    expect([rig.pci.write(0x00, 4, 1), rig.pci.read(0x04, 4)]).toEqual([undefined, 1]);
    const packed = new Rig({ packed: true });
    packed.pci.write(0x00, 4, 1);
    expect(packed.pci.read(0x04, 4)).toBe(5);
    packed.start(VIRTIO_F_RING_PACKED);
    expect(packed.status).toBe(15);
    expect(packed.channel.features >> 32n).toBe(5n);
    expect(() => packed.pci.save()).toThrow('packed');
    // Event suppression is a word, at a multiple of 4, which an avail ring need not be.
    const misaligned = new Rig({ packed: true });
    misaligned.status = 3;
    misaligned.features(VIRTIO_F_VERSION_1, VIRTIO_F_RING_PACKED);
    misaligned.status = 11;
    misaligned.pci.write(0x20, 4, 0x1000);
    misaligned.pci.write(0x28, 4, 0x2002);
    misaligned.pci.write(0x30, 4, 0x3000);
    misaligned.pci.write(0x1c, 2, 1);
    expect([misaligned.pci.read(0x1c, 2), misaligned.pci.needsReset]).toEqual([0, true]);
  });

  it('ignores kicks before DRIVER_OK and register writes to an enabled queue', () => {
    rig.pci.write(NOTIFY, 2, 0);
    rig.queue(0, 0x2000);
    rig.pci.write(0x20, 4, 0x3000);
    rig.pci.write(0x18, 2, 8);
    expect(rig.pci.read(0x20, 4)).toBe(0x2000);
    expect(rig.pci.read(0x18, 2)).toBe(16);
    expect(rig.kicks).toEqual([]);
  });

  it('reads size 0 for a queue that is not there, and takes only powers of two', () => {
    rig.pci.write(0x16, 2, 1);
    expect(rig.pci.read(0x18, 2)).toBe(0);
    rig.pci.write(0x1c, 2, 1);
    expect(rig.pci.read(0x1c, 2)).toBe(0);
    rig.pci.write(0x16, 2, 0);
    for (const size of [0, 3, 127, 256, 65535]) rig.pci.write(0x18, 2, size);
    expect(rig.pci.read(0x18, 2)).toBe(128);
    rig.pci.write(0x18, 2, 32);
    expect(rig.pci.read(0x18, 2)).toBe(32);
  });

  it('refuses FEATURES_OK without VERSION_1 or with a feature it did not offer', () => {
    rig.features(VIRTIO_BLK_F_FLUSH);
    rig.status = 11;
    expect(rig.status).toBe(3);
    rig.features(VIRTIO_F_VERSION_1, 34);
    rig.status = 11;
    expect(rig.status).toBe(3);
    rig.status = 0;
    rig.features(VIRTIO_F_VERSION_1);
    rig.status = 11;
    expect(rig.status).toBe(11);
    rig.features(VIRTIO_F_VERSION_1, VIRTIO_BLK_F_FLUSH); // frozen
    rig.pci.write(0x08, 4, 0);
    expect(rig.pci.read(0x0c, 4)).toBe(0);
  });

  it.each([
    ['beyond RAM', RAM, 0],
    ['misaligned', 0x1008, 0],
    ['above 4 GiB', 0x1000, 1],
  ])('needs reset for a ring %s', (_what, address, high) => {
    rig.status = 11;
    rig.pci.write(0x20, 4, address);
    rig.pci.write(0x24, 4, high);
    rig.pci.write(0x28, 4, 0x1800);
    rig.pci.write(0x30, 4, 0x2000);
    rig.pci.write(0x1c, 2, 1);
    expect(rig.pci.read(0x1c, 2)).toBe(0);
    expect(rig.pci.needsReset).toBe(true);
    expect(rig.pci.failure).toContain('queue 0');
    rig.status = 15;
    expect(rig.channel.generation & 1).toBe(0); // never started
  });

  it('needs reset for DRIVER_OK without FEATURES_OK, and tells by a config interrupt', () => {
    rig.status = 7;
    expect(rig.status & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(rig.irq).toBe(true);
    expect(rig.pci.read(ISR, 1)).toBe(2);
    rig.status = 7; // the driver cannot clear it
    expect(rig.status & NEEDS_RESET).toBe(NEEDS_RESET);
  });

  it('raises INTx until the ISR is read, which clears it', () => {
    rig.start();
    rig.channel.call(0);
    expect(rig.irq).toBe(false);
    rig.pci.update();
    expect(rig.irq).toBe(true);
    expect(rig.pci.read(ISR, 1)).toBe(1);
    expect(rig.irq).toBe(false);
    expect(rig.pci.read(ISR, 1)).toBe(0);
    rig.channel.setCapacity(8192);
    rig.channel.call(0);
    rig.pci.update();
    expect(rig.pci.read(ISR, 1)).toBe(3);
    expect(rig.pci.interrupts).toBe(2);
  });

  it('looks for completions when the ISR is read', () => {
    rig.start();
    rig.onProgress = (): void => {
      if (rig.channel.call(0)) throw new Error('nobody waits');
      rig.pci.update();
    };
    expect(rig.pci.read(ISR, 1)).toBe(1);
    expect(rig.irq).toBe(false);
  });

  it('resets: status is not 0 before the data plane has let go', () => {
    rig.start();
    rig.channel.acknowledge(rig.channel.generation, rig.channel.allQueues);
    rig.channel.call(0);
    rig.pci.update();
    rig.status = 0;
    expect(rig.irq).toBe(false);
    expect(rig.status).toBe(15);
    rig.onProgress = (): void =>
      rig.channel.acknowledge(rig.channel.generation, rig.channel.allQueues);
    expect(rig.status).toBe(0);
    expect(rig.pci.read(0x18, 2)).toBe(128);
    expect(rig.pci.read(0x20, 4)).toBe(0);
    expect(rig.pci.read(ISR, 1)).toBe(0);
    rig.pci.write(NOTIFY, 2, 0);
    expect(rig.kicks).toEqual([0, 0]); // DRIVER_OK and reset
    rig.start();
    expect(rig.channel.generation & 1).toBe(1);
  });

  it('does not hang a reset, nor start again, when the worker is gone', () => {
    rig.start();
    rig.channel.break(DEVICE_GONE);
    rig.pci.update();
    expect(rig.status).toBe(15 | NEEDS_RESET);
    expect(rig.pci.failure).toContain('IOThread');
    expect(rig.pci.read(ISR, 1)).toBe(2);
    rig.status = 0;
    expect(rig.status).toBe(0);
    const { generation } = rig.channel;
    rig.start();
    expect(rig.pci.needsReset).toBe(true);
    expect(rig.channel.generation).toBe(generation);
  });

  it('does not hang a reset when the worker dies during it', () => {
    rig.start();
    rig.status = 0;
    expect(rig.status).toBe(15);
    rig.gone = true;
    expect(rig.status).toBe(0);
  });

  it('reports a broken ring and serves it no more', () => {
    rig.start();
    rig.channel.break(VQ_BAD_INDEX);
    rig.pci.update();
    expect(rig.pci.needsReset).toBe(true);
    expect(rig.pci.failure).toContain('index');
    rig.pci.write(NOTIFY, 2, 0);
    expect(rig.kicks).toEqual([0]);
  });

  it('reads any width at any offset, and splits and merges writes', () => {
    rig.start();
    rig.pci.write(0x16, 2, 0);
    const bytes = Array.from({ length: 56 }, (_, at) => rig.pci.read(at, 1));
    for (let at = 0; at < 56; at++) {
      for (const width of [1, 2, 4]) {
        let expected = 0;
        for (let i = width - 1; i >= 0; i--) expected = expected * 256 + (bytes[at + i] ?? 0);
        expect(rig.pci.read(at, width), `${width} bytes at ${at}`).toBe(expected);
      }
    }
    const other = new Rig();
    for (const i of [0, 1, 2, 3]) other.pci.write(0x20 + i, 1, 0x10 + i);
    expect(other.pci.read(0x20, 4)).toBe(0x13121110);
    other.pci.write(0x14, 4, 0x0000_0003); // status, generation, queue_select
    expect(other.status).toBe(3);
  });
});

it('announces its register blocks in PCI capabilities that form a list', () => {
  const bytes = virtioBlkPciSpace(0xd100);
  const view = new DataView(bytes.buffer);
  const blocks: number[][] = [];
  for (let at = bytes[0x34]!; at !== 0; at = bytes[at + 1]!) {
    expect(bytes[at]).toBe(9);
    blocks.push([bytes[at + 3]!, view.getUint32(at + 8, true), view.getUint32(at + 12, true)]);
  }
  expect(blocks).toEqual([
    [1, 0, 56],
    [3, 0x40, 1],
    [2, 0x44, 4],
    [4, 0x80, 64],
  ]);
  expect(view.getUint32(0x10, true)).toBe(0xd101);
});
